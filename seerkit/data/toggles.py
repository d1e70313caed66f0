"""Find the windows in which the gripper is told to open or to close."""

from __future__ import annotations

import torch
from torch import Tensor

from seerkit.data.pauses import actions
from seerkit.data.windows import Windows


def around_toggles(windows: Windows) -> Tensor:
    """List the windows whose newest step's chunk holds a gripper toggle: ``chunk`` windows for every toggle.

    A robot's gripper closes within a few steps of a demonstration of hundreds, so few windows show it; training can see
    these more often (`Windows.repeated`). The toggle is the last, the last but one, ... the first of the newest step's
    actions. A toggle that comes too early for that counts for the episode's first window instead, which has it in the
    chunk of an older step.

    Seer repeats as many (``make_aug_short_real_dataset_info``: three starts, ten times each), but windows that begin
    two steps earlier: in one of the three the toggle is the last action to be learned, in the others it is not learned.
    Where a toggle comes early, its windows would begin before the episode.

    Windows that `OfficialWindows` leaves out are not repeated either.

    Shape:
        returns: int64 ``(M,)``, numbers of windows, ``chunk`` per toggle, or as many as there are; one near several
            toggles occurs several times.

    Raises:
        StoreError: the data has no actions.
    """
    gripper = actions(windows.store)[:, -1]
    toggles = (gripper[1:] != gripper[:-1]).nonzero().flatten() + 1
    first, number, count = windows.spans()
    low, high = (torch.searchsorted(toggles, place) for place in (first + 1, windows.ends))
    inside = high - low
    span = torch.repeat_interleave(inside)  # of every toggle inside one, span by span
    row = toggles[low[span] + torch.arange(len(span)) - (inside.cumsum(0) - inside)[span]]
    early = windows.steps - 1 + torch.arange(windows.chunk - 1, -1, -1)
    begins = ((row - first[span])[:, None] - early).clamp(min=0)
    return (number[span, None] + begins)[begins < count[span, None]]
