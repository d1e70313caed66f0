"""Cut a stretch of an episode into all windows of one length, after its frames were encoded once."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from seerkit import keys

CUT = (keys.TOKENS[0], keys.TARGET_CHUNK[0], keys.ACTION_IS_PAD, keys.FUTURE_IS_PAD, keys.STEP_IS_PAD)
"""What trunk, heads and losses read; by its first name."""


def length(td: TensorDictBase) -> int:
    """Return how many steps the rows of a batch have: of frames, or where these are gone, of tokens or targets.

    Raises:
        KeyError: if the batch holds none of them.
    """
    for prefix in (keys.IMAGE, keys.PIXELS, keys.TOKENS, keys.TARGET_CHUNK):
        found: list[Any] = [key for key in td.keys(include_nested=True, leaves_only=True) if _below(key, prefix)]
        if found:
            return max(td[key].shape[1] for key in found)
    raise KeyError(f"the batch holds neither frames nor tokens nor targets, only {sorted(map(str, td.keys()))}")


def cut_windows(td: TensorDictBase, *, steps: int) -> TensorDict:
    """Cut every row of ``L`` steps into its ``L - steps + 1`` windows, one after the other.

    Kept are tokens, targets and padding, which is what comes after the encoders; tokens that all steps share are
    repeated. Windows that overlap share what was computed for their common frames, and so do their gradients.

    Args:
        td: a batch of ``(B, L, ...)``.
        steps: of a window; at most ``L``.

    Shape:
        returns: batch size ``B * (L - steps + 1)``, entries ``(..., steps, ...)``.
    """
    windows = length(td) - steps + 1
    cut = TensorDict(batch_size=[td.batch_size[0] * windows])
    for key in td.keys(include_nested=True, leaves_only=True):
        first = key if isinstance(key, str) else key[0]
        if first in CUT:
            cut[key] = _cut(td[key], steps, windows)
    return cut


def _cut(value: Tensor, steps: int, windows: int) -> Tensor:
    if value.shape[1] == 1:  # the same at every step
        return value.repeat_interleave(windows, dim=0)
    return value.unfold(1, steps, 1).movedim(-1, 2).flatten(0, 1)


def _below(key: str | tuple[str, ...], prefix: tuple[str, ...]) -> bool:
    return not isinstance(key, str) and key[: len(prefix)] == prefix
