"""Every tensordict key of seerkit, written down once with shape, dtype and unit.

Names follow TorchRL's robot-policy schema (`torchrl.data.vla`) wherever it has one. Letters: ``B`` batch, ``T`` steps
of history, ``F`` future frames, ``K`` chunk length, ``A`` action size (arm, then gripper), ``D`` model width.

A prediction and its target never share a key: ``("vla_action", "chunk")`` is always a prediction, ``("target", ...)``
is always data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tensordict import NestedKey as NestedKey
else:
    NestedKey = str | tuple[str, ...]

# -- what a robot or a data set gives -------------------------------------------------------------------------------

IMAGE: Final = ("observation", "image")
"""Followed by the camera's name: uint8 ``(B, T, 3, H, W)`` at the camera's own size, RGB."""

STATE: Final = ("observation", "state")
"""float32 ``(B, T, S)``: tool position (m), extrinsic-xyz Euler angles (rad), then the gripper (+1 open / -1 closed, or
one opening per finger in m). LIBERO's has a rotation vector (rad) in the place of the angles, and a right finger that
counts backwards (0 closed, negative open); `seerkit.data.conventions.STATES` names the entries of each kind."""

INSTRUCTION: Final = "language_instruction"
"""One sentence per row (non-tensor), valid for the whole window."""

GOAL_IMAGE: Final = ("goal", "image")
"""Followed by the camera's name: uint8 ``(B, 3, H, W)`` at the camera's own size, RGB: the picture to be reached."""

GOAL_STATE: Final = ("goal", "state")
"""float32 ``(B, S)``: the state to be reached, as `STATE`."""

IS_INIT: Final = "is_init"
"""bool ``(B,)``: ``True`` at the first step of an episode, where every carried state starts anew."""

FUTURE: Final = ("future", "image")
"""Followed by the camera's name: uint8 ``(B, F, 3, H, W)``, the frames right after the window. Training only."""

DEPTH: Final = ("observation", "depth")
"""Followed by the camera's name: uint16 ``(B, T, 1, H, W)``, millimetres along the optical axis, 0 = nothing measured.
Training only."""

FUTURE_DEPTH: Final = ("future", "depth")
"""Followed by the camera's name: uint16 ``(B, F, 1, H, W)``, as `DEPTH`, right after the window. Training only."""

TARGET_CHUNK: Final = ("target", "chunk")
"""float32 ``(B, T, K, A)``: the demonstrated actions of steps ``t .. t + K - 1``; gripper +1 open / -1 closed (LIBERO's
own data: -1 open / +1 closed, as its controller has it)."""

ACTION_IS_PAD: Final = "action_is_pad"
"""bool ``(B, T, K)``: ``True`` where the chunk reaches beyond the episode's end; such actions enter no loss."""

FUTURE_IS_PAD: Final = "future_is_pad"
"""bool ``(B, T)``: ``True`` where the frame to be foreseen lies beyond the episode's end; it enters no loss."""

STEP_IS_PAD: Final = "step_is_pad"
"""bool ``(B, T)``, optional: ``True`` where a step of the window is padding of a history that is too short; nobody sees
it and it enters no loss."""

NOISE: Final = ("noise",)
"""Followed by the head's name: float32 ``(B, T, K, A)``, standard normal, what a sampling head starts from."""

# -- what the policy makes of it ------------------------------------------------------------------------------------

GOAL_TEXT: Final = ("goal", "text")
"""int64 ``(B, L)``: the instruction's token ids, zero-padded."""

GOAL_PIXELS: Final = ("goal", "pixels")
"""float32 ``(B, 3, S, S)``: the picture to be reached, resized and normalised."""

PIXELS: Final = ("pixels",)
"""Followed by the camera's name: float32 ``(B, T, 3, S, S)``, resized, shifted (training) and normalised frames."""

TARGET_PIXELS: Final = ("target", "pixels")
"""Followed by the camera's name: float32 ``(B, T, 3, S, S)``, the frame ``F`` steps after each step, as `PIXELS`."""

TARGET_FEATURES: Final = ("target", "features")
"""Followed by the camera's name: float32 ``(B, T, P, W)``, a frozen encoder's patches ``F`` steps after each step."""

TARGET_DEPTH: Final = ("target", "depth")
"""Followed by the camera's name: float32 ``(B, T, P, p * p)``, metres of the frame ``F`` steps later, 0 = unknown."""

TOKENS: Final = ("tokens",)
"""Followed by the context group's name: float32 ``(B, T, n, D)``."""

HIDDEN: Final = ("hidden",)
"""Followed by the query group's name: float32 ``(B, T, n, D)``, what the trunk made of its learned queries."""

CHUNK: Final = ("vla_action", "chunk")
"""float32 ``(B, T, K, A)``: predicted arm motion (1 is the largest step) and a gripper logit (> 0: what +1 means in
the data, to open; of LIBERO's, to close)."""

FORESIGHT: Final = ("foresight",)
"""Followed by the camera's name: float32 ``(B, T, P, N)``, predicted patches of the frame ``F`` steps ahead: pixels,
log metres of depth, or features."""

ACTION: Final = "action"
"""float32 ``(B, A)``: what is executed now; the arm as the head gave it, gripper exactly +1 (open) or -1 (close)."""


def given(cameras: Iterable[str]) -> list[NestedKey]:
    """Return every key that does not come from a policy's own stages."""
    own = [under(prefix, name) for name in cameras for prefix in (IMAGE, FUTURE, DEPTH, FUTURE_DEPTH)]
    learned = [TARGET_CHUNK, ACTION_IS_PAD, FUTURE_IS_PAD]
    return [*own, STATE, *goals(cameras), *learned, STEP_IS_PAD, under(NOISE, "action")]


def goals(cameras: Iterable[str]) -> list[NestedKey]:
    """Return every key that says what is to be reached."""
    return [INSTRUCTION, GOAL_STATE, *(under(GOAL_IMAGE, name) for name in cameras)]


def under(prefix: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the key of ``name`` below ``prefix``.

    Example:
        >>> under(IMAGE, "wrist")
        ('observation', 'image', 'wrist')
    """
    return (*prefix, name)
