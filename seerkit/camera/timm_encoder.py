"""Any architecture of timm as a vision encoder: CLIP, DINOv2, MAE, R3M's ResNet-50 and the rest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from seerkit._compat import ensure_torchvision
from seerkit.freeze import freeze, stay_frozen


class TimmEncoder(nn.Module):
    """Encode images with an architecture of timm by its name; weights are loaded from outside.

    Parameter names below ``model`` are timm's (for ResNets also torchvision's). A transformer hands on its CLS token,
    or the mean of its patches if it has none, and its patches after the final normalisation; tokens for registers or
    distillation are dropped. A convolutional network hands on the cells of its last feature map as patches and their
    mean as summary, which is what R3M reads off its ResNet-50 (Nair et al., 2022).

    Args:
        model: name of the architecture, such as ``resnet50`` or ``vit_base_patch32_clip_quickgelu_224``; what follows
            a full stop (the tag of its weights) is of no importance here.
        width: feature size the other parts expect; the architecture must agree.
        image_size: side of the square image.
        frozen: no gradients and always in evaluation mode, batch normalisation included.

    Shape:
        images: ``(N, 3, image_size, image_size)``.
        returns: ``(N, 1 + P, width)``: summary, then the patches row by row.

    Raises:
        ValueError: if timm has no such architecture (names the nearest) or its features have another size.
    """

    def __init__(self, *, model: str, width: int, image_size: int = 224, frozen: bool = True) -> None:
        super().__init__()
        self.model, self.frozen = _create(model, image_size), frozen
        size = self.model.num_features
        if size != width:
            raise ValueError(f"expected features of size {width}, but {model!r} gives {size}; set width (feature)")
        self.channels_last = getattr(self.model, "output_fmt", None) == "NHWC"
        if frozen:
            freeze(self)

    def train(self, mode: bool = True) -> TimmEncoder:
        """Switch to training mode, unless frozen."""
        return stay_frozen(self) if self.frozen else super().train(mode)

    def forward(self, images: Tensor) -> Tensor:
        features = self.model.forward_features(images)
        if features.dim() == 4:
            patches = features.flatten(1, 2) if self.channels_last else features.flatten(2).transpose(1, 2)
            return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)
        patches = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
        has_class = isinstance(getattr(self.model, "cls_token", None), Tensor)
        summary = features[:, :1] if has_class else patches.mean(dim=1, keepdim=True)
        return torch.cat([summary, patches], dim=1)

    def at_this_size(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring published tensors, named as this module's own, to this image size: timm resamples the positions.

        DINOv2 was trained at 518 pixels; at 224 its 37 x 37 positions become 16 x 16, which is what DINOv2 itself does.
        """
        adapt = getattr(import_module(type(self.model).__module__), "checkpoint_filter_fn", None)
        if adapt is None:
            return dict(tensors)
        adapted = adapt({name.removeprefix("model."): value for name, value in tensors.items()}, self.model)
        return {f"model.{name}": value for name, value in adapted.items()}


def _create(name: str, image_size: int) -> Any:  # noqa: ANN401 - timm's architectures share no base class
    """Create an architecture without head and pooling, at the image size if that matters to it."""
    ensure_torchvision()
    import timm

    plain = name.partition(".")[0]
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"timm {timm.__version__} has no architecture {plain!r}{hint}")
    model: Any = timm.create_model(plain, pretrained=False, num_classes=0, global_pool="")
    if hasattr(model, "set_input_size") and model.patch_embed.img_size != (image_size, image_size):
        model.set_input_size(img_size=image_size)
    return model
