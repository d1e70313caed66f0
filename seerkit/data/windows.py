"""Cut training windows from a store: history, the frames right after it, and an action chunk for every step."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor

from seerkit import keys
from seerkit.data.rows import Rows, take
from seerkit.data.source import Episode, Segment, Source, StoreError

GOALS = ("image", "state")
"""What the end of an episode can be remembered by."""


class Windows:
    """Number every window of a store and gather batches of them.

    A window starts at every step ``0 .. max(length - steps, 0)`` of its episode, so the last frames are used and no
    window crosses into another episode. (The official LIBERO, DROID and real-robot loaders never show the last ten
    frames of an episode.) What lies beyond the end repeats the last step and is marked: an action in `ACTION_IS_PAD`,
    a frame to be foreseen in `FUTURE_IS_PAD`. An episode shorter than a window is padded the same way; if there is one,
    `STEP_IS_PAD` marks the steps that never were.

    A goal is chosen in hindsight: every window of an episode is given the episode's last frames or last state as what
    was to be reached, whatever the demonstrator had in mind (Kaelbling, 1993; Andrychowicz et al., 2017).

    Args:
        store: the recorded episodes: a store, or data of another format read in place.
        steps: history length ``T``.
        chunk: actions per step ``K``.
        ahead: how many steps ahead a frame is foreseen, ``F``; 0 leaves the future out.
        cameras: which cameras; all of the store's if not given.
        episodes: which episodes, by index, or which spans of steps; all episodes if not given.
        sentence: one instruction for every window, instead of the episodes' own (pre-training without language).
        goal: which goals to add: ``"image"``, ``"state"``.

    Raises:
        StoreError: the store lacks a camera, or no episode is left.
        ValueError: a length is out of range, or a goal is unknown.
    """

    def __init__(
        self,
        store: Source,
        *,
        steps: int,
        chunk: int,
        ahead: int,
        cameras: Collection[str] | None = None,
        episodes: Sequence[int] | Sequence[Episode | Segment] | None = None,
        sentence: str | None = None,
        goal: Collection[str] = (),
    ) -> None:
        if steps < 1 or chunk < 1 or ahead < 0:
            raise ValueError(f"steps and chunk must be at least 1 and ahead at least 0, got {(steps, chunk, ahead)}")
        self.store, self.steps, self.chunk, self.ahead = store, steps, chunk, ahead
        unknown = sorted({*goal} - {*GOALS})
        if unknown:
            raise ValueError(f"a goal is one of {GOALS}, got {unknown}")
        self.goal, self.sentence = tuple(goal), sentence
        self.cameras = list(store.frames if cameras is None else cameras)
        _check_cameras(store, self.cameras)
        if "state" in self.goal and store.state is None:
            raise StoreError(f"{store.path} holds no state, so none can be a goal")
        self.depth = False
        self.more: dict[keys.NestedKey, Rows] = {}
        self.episodes = list(range(len(store.episodes)) if episodes is None else episodes)
        if not self.episodes:
            raise StoreError(f"{store.path}: no episode to cut windows from ({len(store.episodes)} in the store)")
        table = [store.episodes[span] if isinstance(span, int) else span for span in self.episodes]
        self._first = torch.tensor([span.start for span in table])
        self._end = torch.tensor([span.end for span in table])
        self._instructions = [span.instruction if sentence is None else sentence for span in table]
        self._short = bool((self._end - self._first < steps).any())
        count = (self._end - self._first - steps).clamp(min=0) + 1
        self._until = count.cumsum(0)
        self._again = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return int(self._until[-1]) + len(self._again)

    def spans(self) -> tuple[Tensor, Tensor, Tensor]:
        """Say where the windows of each span lie, in the order of `episodes`.

        Shape:
            returns: int64, one per span: its first row, its first window's number, and how many windows it has, those
                that are repeated not counted. Window ``n`` of a span begins ``n`` rows after its first.
        """
        count = self._until.diff(prepend=torch.zeros(1, dtype=torch.int64))
        return self._first, self._until - count, count

    @property
    def ends(self) -> Tensor:
        """Row after the last one of each span, int64, in the order of `episodes`; nothing beyond it is shown."""
        return self._end

    def repeated(self, numbers: Tensor) -> Windows:
        """Return the same windows and, after them, some of them again.

        Shape:
            numbers: int64 ``(M,)``, which ones; a number may occur several times.

        Raises:
            IndexError: a number is out of range.
        """
        more = copy.copy(self)
        more._again = torch.cat([self._again, self._numbers(numbers)])
        return more

    def _numbers(self, index: Tensor) -> Tensor:
        """Turn places in the list of windows into windows, of which some may stand there several times."""
        if bool(((index < 0) | (index >= len(self))).any()):
            raise IndexError(f"window numbers must be in 0 .. {len(self) - 1}, got {index.tolist()}")
        beyond = index - self._until[-1]
        return torch.where(beyond < 0, index, self._again[beyond.clamp(min=0)]) if len(self._again) else index

    def with_depth(self) -> Windows:
        """Return the same windows, giving depth frames, too.

        Raises:
            StoreError: the store holds none.
        """
        if not self.store.depth:
            path = self.store.path
            raise StoreError(f"{path} holds no depth; record a store that does: seerkit collect ... --depth")
        deep = copy.copy(self)
        deep.depth = True
        return deep

    def with_rows(self, rows: Mapping[keys.NestedKey, Rows]) -> Windows:
        """Return the same windows, giving what belongs to each of their steps, too.

        Args:
            rows: key in a batch -> one row for every step of the store.

        Raises:
            StoreError: there are not as many rows as steps.
        """
        steps = sum(episode.length for episode in self.store.episodes)
        short = {str(key): array.shape[0] for key, array in rows.items() if array.shape[0] != steps}
        if short:
            raise StoreError(f"expected a row for each of the {steps} steps of {self.store.path}, got {short}")
        wider = copy.copy(self)
        wider.more = {**self.more, **rows}
        return wider

    def gather(self, index: Tensor) -> TensorDict:
        """Copy a batch of windows out of the store.

        Shape:
            index: int64 ``(B,)``, window numbers in ``0 .. len(self) - 1``.
            returns: batch size ``(B,)``; see `seerkit.keys` for `IMAGE`, `STATE`, `FUTURE`, `TARGET_CHUNK`,
                `ACTION_IS_PAD`, `FUTURE_IS_PAD`, `STEP_IS_PAD`, `INSTRUCTION`, `GOAL_IMAGE`, `GOAL_STATE` and, of
                windows `with_depth`, `DEPTH` and `FUTURE_DEPTH`. Frames stay as they are stored.

        Raises:
            IndexError: a number is out of range.
        """
        index = self._numbers(index)
        episode = torch.searchsorted(self._until, index, right=True)
        before = torch.where(episode > 0, self._until[episode - 1], 0)
        start, end = self._first[episode] + index - before, self._end[episode, None]
        step = start[:, None] + torch.arange(self.steps)
        batch = TensorDict(batch_size=[len(index)])
        if self.store.state is not None:
            batch[keys.STATE] = take(self.store.state, step.minimum(end - 1))
        if self.store.action is not None:
            action = step[..., None] + torch.arange(self.chunk)
            batch[keys.TARGET_CHUNK] = take(self.store.action, action.minimum(end[..., None] - 1))
            batch[keys.ACTION_IS_PAD] = action >= end[..., None]
        if self._short:
            batch[keys.STEP_IS_PAD] = step >= end
        batch[keys.INSTRUCTION] = NonTensorStack.from_list([self._instructions[row] for row in episode.tolist()])
        self._see(batch, step, end)
        if self.ahead:
            batch[keys.FUTURE_IS_PAD] = step + self.ahead >= end
        self._show_goals(batch, end[:, 0] - 1)
        return batch

    def _see(self, batch: TensorDict, step: Tensor, end: Tensor) -> None:
        """Add what the cameras saw, and will see, and what was made of it."""
        for key, rows in self.more.items():
            batch[key] = take(rows, step.minimum(end - 1))
        future = step[:, :1] + self.steps + torch.arange(self.ahead)
        for name in self.cameras:
            for frames, now, later in self._seen(name):
                batch[keys.under(now, name)] = take(frames, step.minimum(end - 1))
                if self.ahead:
                    batch[keys.under(later, name)] = take(frames, future.minimum(end - 1))

    def _show_goals(self, batch: TensorDict, last: Tensor) -> None:
        """Add what the last steps look like, as far as that is a goal."""
        if "image" in self.goal:
            for name in self.cameras:
                batch[keys.under(keys.GOAL_IMAGE, name)] = take(self.store.frames[name], last)
        if "state" in self.goal and self.store.state is not None:
            batch[keys.GOAL_STATE] = take(self.store.state, last)

    def in_next_episode(self, index: Tensor) -> Tensor:
        """Return for each window the first one of the episode after its own, as `episodes` lists them, round and round.

        Shape:
            index: int64 ``(B,)``, window numbers.
            returns: int64 ``(B,)``, window numbers; of another episode where there is more than one.
        """
        episode = (torch.searchsorted(self._until, self._numbers(index), right=True) + 1) % len(self.episodes)
        return torch.where(episode > 0, self._until[episode - 1], 0)

    def _seen(self, camera: str) -> Iterator[tuple[Tensor | Rows, tuple[str, ...], tuple[str, ...]]]:
        """Yield what a camera recorded, with the keys of the window's frames and of those after it."""
        yield self.store.frames[camera], keys.IMAGE, keys.FUTURE
        if self.depth:
            yield self.store.depth[camera], keys.DEPTH, keys.FUTURE_DEPTH


def _check_cameras(store: Source, cameras: Sequence[str]) -> None:
    for name in cameras:
        if name not in store.frames:
            near = difflib.get_close_matches(name, list(store.frames), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise StoreError(f"{store.path} has the cameras {sorted(store.frames)}, not {name!r}{hint}")
