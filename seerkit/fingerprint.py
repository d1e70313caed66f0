"""One number for a set of tensors: equal weights have equal fingerprints, whatever file or device they lie on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return sha256 over names, types, shapes and bytes of all tensors in order of their names.

    It depends on neither the file format nor the device.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
