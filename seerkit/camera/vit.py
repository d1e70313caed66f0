"""Vision transformers: an image to patch features and one summary feature."""

from __future__ import annotations

from torch import Tensor, nn

from seerkit._compat import ensure_torchvision
from seerkit.freeze import freeze, stay_frozen


class Vit(nn.Module):
    """Encode images with timm's vision transformer; MAE's ViT-B/16 by default.

    Module and parameter names below ``vit`` are those of timm and MAE, so their weights load as they are. Unlike the
    official Seer, patches are not shuffled (its outputs move by 1e-6 for that) and MAE's decoder is not built.

    Args:
        image_size: side of the square image.
        patch: side of a square patch.
        width: feature size.
        depth: transformer blocks.
        heads: attention heads.
        frozen: no gradients and always in evaluation mode.

    Shape:
        images: ``(N, 3, image_size, image_size)``.
        returns: ``(N, 1 + P, width)`` after the final normalisation: summary (CLS), then the patches row by row.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        ensure_torchvision()
        from timm.models.vision_transformer import VisionTransformer

        self.frozen = frozen
        self.vit = VisionTransformer(
            img_size=image_size,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            global_pool="",
        )
        if frozen:
            freeze(self)

    def train(self, mode: bool = True) -> Vit:
        """Switch to training mode, unless frozen."""
        return stay_frozen(self) if self.frozen else super().train(mode)

    def forward(self, images: Tensor) -> Tensor:
        return self.vit.forward_features(images)
