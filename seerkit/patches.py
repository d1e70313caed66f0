"""Images as rows of flat patches, and back."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

EPSILON = 1e-6
"""Added to a patch's variance before the square root (MAE, Seer)."""


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images into flat patches, row by row; inside a patch the order is row, column, channel (MAE).

    Shape:
        images: ``(..., 3, H, W)`` with ``H`` and ``W`` multiples of ``patch``.
        returns: ``(..., H * W / patch**2, 3 * patch**2)``.

    Raises:
        ValueError: if the patches do not fill the image exactly.

    Example:
        >>> import torch
        >>> patchify(torch.zeros(2, 3, 32, 32), 8).shape
        torch.Size([2, 16, 192])
    """
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise ValueError(f"expected an image size divisible by the patch size {patch}, got {height}x{width}")
    tiles = images.unflatten(-1, (width // patch, patch)).unflatten(-3, (height // patch, patch))
    # (..., C, rows, p, columns, q) -> (..., rows, columns, p, q, C)
    dims = tiles.dim()
    c, r, p, k, q = range(dims - 5, dims)
    tiles = tiles.permute(*range(dims - 5), r, k, p, q, c)
    return tiles.flatten(-3).flatten(-3, -2)


def unpatchify(patches: Tensor, *, patch: int) -> Tensor:
    """Put flat patches of a square image together again; the inverse of `patchify`.

    Shape:
        patches: ``(..., P, 3 * patch**2)`` with ``P`` a square number.
        returns: ``(..., 3, S, S)``.

    Raises:
        ValueError: if ``P`` is not a square number.
    """
    side = round(patches.shape[-2] ** 0.5)
    if side * side != patches.shape[-2]:
        raise ValueError(f"expected the patches of a square image, got {patches.shape[-2]} of them")
    tiles = patches.unflatten(-2, (side, side)).unflatten(-1, (patch, patch, 3))
    dims = tiles.dim()
    r, k, p, q, c = range(dims - 5, dims)
    return tiles.permute(*range(dims - 5), c, r, p, k, q).flatten(-2).flatten(-3, -2)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return each patch's mean and deviation over all its numbers (variance unbiased, plus 1e-6).

    Shape:
        patches: ``(..., P, N)``.
        returns: two of ``(..., P, 1)``.
    """
    mean = patches.mean(dim=-1, keepdim=True)
    return mean, (patches.var(dim=-1, keepdim=True) + EPSILON).sqrt()


def normalise_patches(patches: Tensor, *, epsilon: Literal["variance", "deviation"] = "variance") -> Tensor:
    """Bring each patch to mean 0 and deviation 1, the target Seer, GR-1 and MAE predict.

    Args:
        patches: ``(..., P, N)``.
        epsilon: what 1e-6 is added to, the ``"variance"`` (MAE, Seer) or the ``"deviation"`` (GR-1).
    """
    if epsilon == "deviation":
        mean, deviation = patches.mean(dim=-1, keepdim=True), patches.std(dim=-1, keepdim=True) + EPSILON
    else:
        mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation
