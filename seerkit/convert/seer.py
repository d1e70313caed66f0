"""Names and layouts of the official Seer's checkpoints, and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

UNUSED = ("action_pose_encoder.", "action_gripper_position_encoder.", "action_projector.", "recon_")
"""The 14 tensors that the official model registers and saves but never uses."""

# official pattern -> ours; {} stands for the pattern's groups, in order
_NAMES: tuple[tuple[str, str], ...] = (
    (r"action_pred_token", "trunk.queries.action"),
    (r"obs_tokens", "trunk.queries.foresight"),
    (r"transformer_backbone_position_embedding", "trunk.time"),
    (r"mask_token", "heads.foresight.mask_token"),
    (r"text_projector\.(.+)", "encoders.goal.project.{}"),
    (r"arm_state_encoder\.(.+)", "encoders.state.pose.{}"),
    (r"gripper_state_encoder\.(.+)", "encoders.state.gripper.{}"),
    (r"state_projector\.(.+)", "encoders.state.project.{}"),
    (r"perceiver_resampler\.layers\.(\d+)\.0\.norm_media\.(.+)", "encoders.image.resample.attend.{}.norm_patches.{}"),
    (r"perceiver_resampler\.layers\.(\d+)\.0\.norm_latents\.(.+)", "encoders.image.resample.attend.{}.norm_latents.{}"),
    (r"perceiver_resampler\.layers\.(\d+)\.0\.to_q\.(.+)", "encoders.image.resample.attend.{}.query.{}"),
    (r"perceiver_resampler\.layers\.(\d+)\.0\.to_kv\.(.+)", "encoders.image.resample.attend.{}.key_value.{}"),
    (r"perceiver_resampler\.layers\.(\d+)\.0\.to_out\.(.+)", "encoders.image.resample.attend.{}.out.{}"),
    (r"perceiver_resampler\.layers\.(\d+)\.1\.(.+)", "encoders.image.resample.feed.{}.{}"),
    (r"perceiver_resampler\.(latents|norm\..+)", "encoders.image.resample.{}"),
    (r"image_(primary|wrist)_projector\.(.+)", "encoders.image.image.{}.{}"),
    (r"cls_token_(primary|wrist)_projector\.(.+)", "encoders.image.summary.{}.{}"),
    (r"embedding_layer_norm\.(.+)", "trunk.norm.{}"),
    (r"transformer_backbone\.h\.(\d+)\.ln_([12])\.(.+)", "trunk.blocks.{}.norm{}.{}"),
    (r"transformer_backbone\.h\.(\d+)\.attn\.c_attn\.(.+)", "trunk.blocks.{}.qkv.{}"),
    (r"transformer_backbone\.h\.(\d+)\.attn\.c_proj\.(.+)", "trunk.blocks.{}.out.{}"),
    (r"transformer_backbone\.h\.(\d+)\.mlp\.c_fc\.(.+)", "trunk.blocks.{}.wide.{}"),
    (r"transformer_backbone\.h\.(\d+)\.mlp\.c_proj\.(.+)", "trunk.blocks.{}.narrow.{}"),
    (r"transformer_backbone\.ln_f\.(.+)", "trunk.final.{}"),
    (r"action_decoder\.(\d+\..+)", "heads.action.body.{}"),
    (r"arm_action_decoder\.0\.(.+)", "heads.action.arm.{}"),
    (r"gripper_action_decoder\.0\.(.+)", "heads.action.gripper.{}"),
    (r"image_decoder_obs_pred_projector\.(.+)", "heads.foresight.project.{}"),
    (r"image_decoder\.(\d+\..+)", "heads.foresight.blocks.{}"),
    (r"image_decoder_norm\.(.+)", "heads.foresight.norm.{}"),
    (r"image_decoder_pred\.(.+)", "heads.foresight.pixels.{}"),
)
_TRANSPOSED = re.compile(r"transformer_backbone\.h\.\d+\.(attn|mlp)\.c_\w+\.weight")
_AXES = {
    "action_pred_token": (1, 1),
    "obs_tokens": (1, 1),
    "mask_token": (1, 1),
    "transformer_backbone_position_embedding": (1,),
}


def seer_name(official: str) -> str | None:
    """Return our name of an official tensor (without ``module.``), or ``None`` for one that is never used.

    Raises:
        KeyError: for a name the official Seer does not have.

    Example:
        >>> seer_name("transformer_backbone.h.3.attn.c_attn.weight")
        'trunk.blocks.3.qkv.weight'
    """
    if official.startswith(UNUSED):
        return None
    for pattern, ours in _NAMES:
        if match := re.fullmatch(pattern, official):
            return ours.format(*match.groups())
    raise KeyError(f"the official Seer has no tensor {official!r}")


def from_seer(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an official Seer's tensors to ours, dropping the never-used ones.

    GPT-2's matrices are stored as (in, out) there and are transposed; learned tokens lose their leading axes of size 1.

    Args:
        official: ``model_state_dict`` of an official checkpoint, with or without its ``module.`` prefix.

    Raises:
        KeyError: for a tensor the official Seer does not have.
    """
    ours = {}
    for key, tensor in official.items():
        name = key.removeprefix("module.")
        target = seer_name(name)
        if target is not None:
            tensor = tensor.T if _TRANSPOSED.fullmatch(name) else tensor
            ours[target] = tensor.reshape(tensor.shape[len(_AXES.get(name, ())) :]).contiguous()
    return ours
