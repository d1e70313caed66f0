"""Let a CUDA-built torchvision be imported beside a CPU build of torch.

timm and open_clip import torchvision, whose PyPI wheel is a CUDA build. Beside a CPU build of torch its compiled
operators cannot be loaded and the import fails with ``operator torchvision::nms does not exist``. seerkit uses none of
those operators, so it is enough that their names are known.
"""

import functools
import importlib.util
import re
from pathlib import Path

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[object] = []  # a declaration lasts as long as its library object


@functools.cache
def ensure_torchvision() -> bool:
    """Declare torchvision's operators where its build does not fit torch's; call before importing timm or open_clip.

    Does nothing where the two builds agree or torchvision is imported already, and nothing the second time.

    Returns:
        True if the operators were declared here.

    Raises:
        ImportError: if torchvision is not installed.
    """
    import torch

    if torch.version.cuda is not None or hasattr(torch.ops.torchvision, "nms") or not _built_for_cuda():
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        library.define(name + _SIGNATURE)
    _declared.append(library)
    return True


def _built_for_cuda() -> bool:
    """Read from torchvision's version file, without importing it, whether it was built for CUDA."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("expected torchvision to be installed; run: pip install -c constraints.txt torchvision")
    version = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"\+cu\d+|^cuda = ['\"]", version, flags=re.MULTILINE) is not None
