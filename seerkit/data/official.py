"""The windows that the official Seer's loaders give, for comparisons with its authors' numbers."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import Tensor

from seerkit import keys
from seerkit.data.source import StoreError
from seerkit.data.windows import Windows


class OfficialWindows(Windows):
    """Cut the windows of the official Seer (OpenRobotLab/Seer, ``utils/data_utils.py``), no more and no fewer.

    Its loaders cut ``window`` steps at a time, of which training uses the first ``steps`` as history and the rest for
    chunks and frames to foresee. Where they differ from `Windows`:

    - CALVIN (data with segments): a span of ``L`` steps has ``L - window`` windows, the last possible one is left out,
      and a span of up to ``window`` steps has none. A window never reaches beyond its span, so nothing is padded.
    - LIBERO, DROID and real robots (whole episodes): an episode of ``L`` steps is treated as if it had ``L - window``,
      each of which begins a window. So its last ``window`` steps are never seen, and the later windows are padded:
      frames and states by repeating the last, the arm's action by zeros, the gripper's by repeating it. This padding is
      learned from like data: it is not marked.

    Steps, chunks and frames beyond ``window`` are marked as padding; the official losses do not read them either. The
    order of the windows is the `Sampler`'s, not the official ``DistributedSampler``'s.

    Args:
        windows: how to cut, and from which spans.
        window: steps that the official loader cuts: its ``window_size``.

    Raises:
        StoreError: no span is longer than ``window``.
        ValueError: ``window`` is less than the history.
    """

    def __init__(self, windows: Windows, *, window: int) -> None:
        if window < windows.steps:
            raise ValueError(f"window must hold the {windows.steps} steps of history, got {window}")
        store = windows.store
        table = [store.episodes[span] if isinstance(span, int) else span for span in windows.episodes]
        long = [span for span in table if span.length > window]
        if not long:
            longest = max(span.length for span in table)
            raise StoreError(f"{store.path}: a span must have more than {window} steps, the longest has {longest}")
        cut = {"steps": windows.steps, "chunk": windows.chunk, "ahead": windows.ahead, "goal": windows.goal}
        super().__init__(store, **cut, cameras=windows.cameras, episodes=long, sentence=windows.sentence)
        self.window = window
        self._short = False
        self._until = (self._end - self._first - window).cumsum(0)
        if store.segments is None:
            self._end = self._end - window

    def gather(self, index: Tensor) -> TensorDict:
        """Copy a batch of windows, as `Windows.gather`, padded and marked as the official loaders do."""
        batch = super().gather(index)
        step = torch.arange(self.steps)
        if keys.TARGET_CHUNK in batch.keys(include_nested=True):
            batch[keys.TARGET_CHUNK][..., :-1] *= ~batch[keys.ACTION_IS_PAD][..., None]
            beyond = step[:, None] + torch.arange(self.chunk) >= self.window
            batch[keys.ACTION_IS_PAD] = beyond.expand(len(index), -1, -1).clone()
        if self.ahead:
            batch[keys.FUTURE_IS_PAD] = (step + self.ahead >= self.window).expand(len(index), -1).clone()
        return batch
