"""Weights of ready-made encoders, brought to the names their modules have here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from seerkit.convert.read import WeightsError

_AFFINE = ("weight", "bias")
_VIT_BLOCK = tuple(
    f"{part}.{kind}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2") for kind in _AFFINE
)
_TEXT_BLOCK = (
    "attn.in_proj_weight",
    "attn.in_proj_bias",
    *(f"{part}.{kind}" for part in ("ln_1", "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj") for kind in _AFFINE),
)
_RESNET50 = (3, 4, 6, 3)
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

MAE_LEFT_OUT = r"mask_token|decoder_.+|head\.(weight|bias)"
"""MAE's decoder, which foresaw masked patches and has no use here, and a classifier."""
CLIP_LEFT_OUT = r"visual\..+|logit_(scale|bias)|input_resolution|context_length|vocab_size|(text\.|.*\.)?attn_mask"
"""CLIP's image tower, and numbers that its archive stores as tensors."""
R3M_LEFT_OUT = r"lang_(enc|rew)\..+|convnet\.fc\.(weight|bias)"
"""R3M's language encoder and reward, which shaped its features in training."""


def mae_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder of a masked autoencoder under the names of timm's vision transformer, in fp32.

    MAE (He et al., 2022) and MVP store it so; Seer and GR-1 use the ViT-B/16. The decoder is left out (`left_out`).

    Args:
        tensors: what `read_weights` gave for a MAE checkpoint, or an encoder's own state dict.

    Raises:
        WeightsError: with a table of missing and unexpected tensors.
    """
    mine = _kept(tensors, MAE_LEFT_OUT)
    expected = {"cls_token", "pos_embed", *_both("patch_embed.proj"), *_both("norm")}
    expected |= _repeated(mine, r"blocks\.(\d+)\.", _VIT_BLOCK, "blocks.{}.{}")
    _check_names(mine, expected, "a MAE encoder")
    return {name: _fp32(tensor) for name, tensor in mine.items()}


def clip_text(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return CLIP's text tower under the names of open_clip's, in fp32.

    OpenAI's checkpoints and open_clip's have these names already, the latter's with ``text.`` before them for some
    models. The image tower is left out (`left_out`).

    Args:
        tensors: what `read_weights` gave for a CLIP checkpoint.

    Raises:
        WeightsError: with a table of missing and unexpected tensors.
    """
    mine = {name.removeprefix("text."): tensor for name, tensor in _kept(tensors, CLIP_LEFT_OUT).items()}
    expected = {"positional_embedding", "text_projection", "token_embedding.weight", *_both("ln_final")}
    expected |= _repeated(mine, r"transformer\.resblocks\.(\d+)\.", _TEXT_BLOCK, "transformer.resblocks.{}.{}")
    _check_names(mine, expected, "CLIP's text tower")
    return {name: _fp32(tensor) for name, tensor in mine.items()}


def r3m_resnet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return R3M's ResNet-50 (Nair et al., 2022) under the usual names of a ResNet, in fp32, without classifier.

    Args:
        tensors: what `read_weights` gave for an R3M checkpoint (``module.convnet.*``), or a ResNet-50's state dict.

    Raises:
        WeightsError: with a table of missing and unexpected tensors.
    """
    mine = {name.removeprefix("convnet."): tensor for name, tensor in _kept(tensors, R3M_LEFT_OUT).items()}
    mine = {name: tensor for name, tensor in mine.items() if not name.startswith("fc.")}
    expected = {"conv1.weight", *(f"bn1.{kind}" for kind in _NORM)}
    for layer, depth in enumerate(_RESNET50, start=1):
        for block in range(depth):
            at = f"layer{layer}.{block}."
            for index in (1, 2, 3):
                expected |= {f"{at}conv{index}.weight", *(f"{at}bn{index}.{kind}" for kind in _NORM)}
        expected |= {f"layer{layer}.0.downsample.0.weight", *(f"layer{layer}.0.downsample.1.{kind}" for kind in _NORM)}
    _check_names(mine, expected, "R3M's ResNet-50")
    return {name: _fp32(tensor) for name, tensor in mine.items()}


def left_out(tensors: Mapping[str, Tensor], pattern: str) -> list[str]:
    """Return the names of the tensors that a reader of this pattern leaves aside.

    Example:
        >>> left_out({"mask_token": torch.zeros(1), "norm.bias": torch.zeros(1)}, MAE_LEFT_OUT)
        ['mask_token']
    """
    return sorted(tensors.keys() - {f"{_wrap(tensors)}{name}" for name in _kept(tensors, pattern)})


def _kept(tensors: Mapping[str, Tensor], pattern: str) -> dict[str, Tensor]:
    wrap = _wrap(tensors)
    named = {name.removeprefix(wrap): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not re.fullmatch(pattern, name)}


def _wrap(tensors: Mapping[str, Tensor]) -> str:
    return "module." if tensors and all(name.startswith("module.") for name in tensors) else ""


def _both(name: str) -> tuple[str, str]:
    return f"{name}.weight", f"{name}.bias"


def _repeated(names: Collection[str], index: str, parts: Collection[str], template: str) -> set[str]:
    """Return the names of all blocks up to the last one there is a trace of."""
    found = [int(match[1]) for name in names if (match := re.match(index, name))]
    return {template.format(number, part) for number in range(max(found, default=0) + 1) for part in parts}


def _check_names(tensors: Mapping[str, Tensor], expected: Collection[str], what: str) -> None:
    rows = [f"  missing     {name}" for name in sorted(set(expected) - tensors.keys())]
    rows += [f"  unexpected  {name} {tuple(tensors[name].shape)}" for name in sorted(tensors.keys() - set(expected))]
    if rows:
        raise WeightsError(f"these tensors are not {what}:\n" + "\n".join(rows[:40] + ["  ..."] * (len(rows) > 40)))


def _fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor.contiguous()
