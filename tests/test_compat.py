"""timm and open_clip can be imported whatever the builds of torch and torchvision are."""

import subprocess
import sys
from pathlib import Path

import pytest

from seerkit import _compat

IMPORT = """
from seerkit._compat import ensure_torchvision
declared = ensure_torchvision()
assert ensure_torchvision() is declared
import torchvision, timm, open_clip
assert not ensure_torchvision.__wrapped__()  # known by now, whoever declared them
print("ok")
"""


def test_timm_and_open_clip_import() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "ok", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("version", "cuda"),
    [
        ("__version__ = '0.28.0+cu130'\n", True),
        ("__version__ = '0.28.0'\ncuda = '13.0'\n", True),
        ("__version__ = '0.28.0+cpu'\ncuda = None\n", False),
        ("__version__ = '0.28.0'\nif _check_cuda_version() > 0:\n    cuda = _check_cuda_version()\n", False),
    ],
)
def test_reads_the_build_without_importing(
    version: str, cuda: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (package / "version.py").write_text(version)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    assert _compat._built_for_cuda() is cuda


def test_missing_torchvision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="expected torchvision to be installed"):
        _compat._built_for_cuda()
