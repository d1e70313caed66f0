"""Foresight of other things than pixels: features, or a number per pixel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from seerkit.head.foresight import ForesightHead
from seerkit.initialise import begin


class MapForesightHead(ForesightHead):
    """Decode each camera's foresight tokens into numbers for every patch of a future frame, by Seer's decoder.

    As DreamVLA does it: the decoder is that of pixels, only its last layer has another size.

    Args:
        cameras: names, in the order of the foresight tokens.
        dim: width of the trunk and of the decoder.
        image_size: side of the square frame the target is made from.
        patch: side of one of its patches.
        outputs: numbers per patch, such as the size of a feature; one per pixel (``patch**2``), such as depth, if not
            given.
        depth: ViT blocks.
        heads: attention heads.

    Shape:
        hidden: ``(B, T, cameras * n, dim)`` with ``n`` a square number.
        returns: one ``(B, T, P, outputs)`` per camera, ``P`` patches row by row.

    Raises:
        ValueError: if tokens or patches do not form square grids.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[str],
        dim: int,
        image_size: int,
        patch: int,
        outputs: int | None = None,
        depth: int = 2,
        heads: int = 16,
    ) -> None:
        super().__init__(cameras=cameras, dim=dim, image_size=image_size, patch=patch, depth=depth, heads=heads)
        self.pixels = nn.Linear(dim, patch**2 if outputs is None else outputs)
        begin(self.pixels, "xavier")
