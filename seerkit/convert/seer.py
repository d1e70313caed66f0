"""The official Seer's tensors: what they are called there and here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seerkit.convert.rules import Rule, Table, affine, gpt2, perceiver

TABLE = Table(
    system="Seer",
    rules=(
        Rule("action_pred_token", "trunk.queries.action", "1 1 n d -> n d"),
        Rule("obs_tokens", "trunk.queries.foresight", "1 1 n d -> n d"),
        Rule("transformer_backbone_position_embedding", "trunk.time", "1 s 1 d -> s 1 d"),
        Rule("mask_token", "heads.foresight.mask_token", "1 1 d -> d"),
        *affine("text_projector", "encoders.goal.project"),
        *affine("arm_state_encoder", "encoders.state.pose"),
        *affine("gripper_state_encoder", "encoders.state.gripper"),
        *affine("state_projector", "encoders.state.project"),
        *perceiver(),
        *affine("image_{camera}_projector", "encoders.image.image.{camera}"),
        *affine("cls_token_{camera}_projector", "encoders.image.summary.{camera}"),
        *affine("embedding_layer_norm", "trunk.norm"),
        *gpt2("transformer_backbone"),
        *affine("action_decoder", "heads.action.body"),
        *affine("arm_action_decoder.0", "heads.action.arm"),
        *affine("gripper_action_decoder.0", "heads.action.gripper"),
        *affine("image_decoder_obs_pred_projector", "heads.foresight.project"),
        *affine("image_decoder", "heads.foresight.blocks"),
        *affine("image_decoder_norm", "heads.foresight.norm"),
        *affine("image_decoder_pred", "heads.foresight.pixels"),
    ),
    idle=(r"action_(pose_encoder|gripper_position_encoder|projector)\..+", r"recon_.+"),
)


def seer_name(official: str) -> str | None:
    """Return our name of an official tensor (without ``module.``), or ``None`` for one that is never used.

    Raises:
        KeyError: for a name the official Seer does not have.

    Example:
        >>> seer_name("transformer_backbone.h.3.attn.c_attn.weight")
        'trunk.blocks.3.qkv.weight'
    """
    return TABLE.our_name(official)


def from_seer(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an official Seer's tensors to ours, dropping the never-used ones.

    GPT-2's matrices are stored as (in, out) there and are transposed; learned tokens lose their leading axes of size 1.

    Args:
        official: ``model_state_dict`` of an official checkpoint, with or without its ``module.`` prefix.

    Raises:
        KeyError: for a tensor the official Seer does not have.
    """
    return TABLE.carry({name.removeprefix("module."): tensor for name, tensor in official.items()})


def idle_tensors(dim: int) -> dict[str, Tensor]:
    """Return the 14 tensors that the official model registers and saves but never uses, freshly initialised as there.

    Args:
        dim: width of the trunk.
    """
    linears = {
        "action_pose_encoder": nn.Linear(6, dim),
        "action_gripper_position_encoder": nn.Linear(2, dim),
        "action_projector": nn.Linear(2 * dim, dim),
        "recon_state_decoder.0": nn.Linear(dim, dim // 2),
        "recon_state_decoder.2": nn.Linear(dim // 2, dim // 2),
        "recon_arm_state_decoder.0": nn.Linear(dim // 2, 6),
        "recon_gripper_state_decoder.0": nn.Linear(dim // 2, 1),
    }
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, linear in linears.items():
        nn.init.xavier_uniform_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
        tensors |= {f"{name}.weight": linear.weight.detach(), f"{name}.bias": linear.bias.detach()}
    return tensors
