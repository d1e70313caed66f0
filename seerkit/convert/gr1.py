"""The official GR-1's tensors: what they are called there and here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seerkit.convert.rules import Rule, Table, affine, gpt2, perceiver

INSIDE = ("model_mae.", "model_clip.")
"""Frozen encoders that some files hold as well."""

TABLE = Table(
    system="GR-1",
    rules=(
        Rule("action_queries.weight", "trunk.queries.action"),
        Rule(("obs_queries.weight", "obs_hand_queries.weight"), "trunk.queries.foresight"),
        Rule("embed_timestep.weight", "trunk.time", "s d -> s 1 d"),
        Rule("mask_token", "heads.foresight.mask_token", "1 1 1 d -> d"),
        Rule("perceiver_resampler.media_pos_emb", "encoders.image.resample.media", "1 1 d -> d"),
        *affine("embed_lang", "encoders.goal.project"),
        *affine("embed_arm_state", "encoders.state.pose"),
        *affine("embed_gripper_state", "encoders.state.gripper"),
        *affine("embed_state", "encoders.state.project"),
        *perceiver(),
        *affine("embed_patch", "encoders.image.image.primary"),
        *affine("embed_hand_patch", "encoders.image.image.wrist"),
        *affine("embed_img", "encoders.image.summary.primary"),
        *affine("embed_hand_img", "encoders.image.summary.wrist"),
        *affine("embed_ln", "trunk.norm"),
        *gpt2("transformer"),
        *affine("pred_act_mlps", "heads.action.body"),
        *affine("pred_arm_act", "heads.action.arm"),
        *affine("pred_gripper_act", "heads.action.gripper"),
        *affine("decoder_embed", "heads.foresight.project"),
        *affine("decoder_blocks", "heads.foresight.blocks"),
        *affine("decoder_norm", "heads.foresight.norm"),
        *affine("decoder_pred", "heads.foresight.pixels"),
    ),
    idle=(r"transformer\.wte\.weight", r"transformer\.h\.\d+\.attn\.(masked_)?bias", "decoder_pos_embed"),
)


def gr1_name(official: str) -> str | None:
    """Return our name of an official tensor, or ``None`` for one that is never used or computed here.

    Raises:
        KeyError: for a name the official GR-1 does not have.

    Example:
        >>> gr1_name("obs_hand_queries.weight")
        'trunk.queries.foresight'
    """
    return TABLE.our_name(official)


def from_gr1(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an official GR-1's own tensors to ours; masks, tables and the frozen encoders are left out.

    Args:
        official: ``state_dict`` of an official checkpoint.

    Raises:
        KeyError: for a tensor the official GR-1 does not have.
    """
    return TABLE.carry({name: tensor for name, tensor in official.items() if not name.startswith(INSIDE)})


def idle_tensors(dim: int, *, depth: int, patches: int, positions: int = 1024) -> dict[str, Tensor]:
    """Return what the official model stores and does not learn from: masks, an unused table, fixed positions.

    Args:
        dim: width of the trunk.
        depth: its blocks.
        patches: patches of an image.
        positions: size of GPT-2's triangular masks.
    """
    from seerkit.head.foresight import grid_positions

    generator = torch.Generator().manual_seed(0)
    tensors = {
        "transformer.wte.weight": 0.02 * torch.randn(1, dim, generator=generator),
        "decoder_pos_embed": grid_positions(patches, dim)[None],
    }
    triangle = torch.ones(positions, positions, dtype=torch.uint8).tril()[None, None]
    for layer in range(depth):
        tensors[f"transformer.h.{layer}.attn.bias"] = triangle.clone()
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors
