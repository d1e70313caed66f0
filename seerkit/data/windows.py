"""Cut training windows from a store: history, the frames right after it, and an action chunk for every step."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor

from seerkit import keys
from seerkit.data.sampler import permute
from seerkit.data.store import Store, StoreError

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
        store: the recorded episodes.
        steps: history length ``T``.
        chunk: actions per step ``K``.
        ahead: how many steps ahead a frame is foreseen, ``F``; 0 leaves the future out.
        cameras: which cameras; all of the store's if not given.
        episodes: which episodes, by index; all if not given.
        sentence: one instruction for every window, instead of the episodes' own (pre-training without language).
        goal: which goals to add: ``"image"``, ``"state"``.

    Raises:
        StoreError: the store lacks a camera, or no episode is left.
        ValueError: a length is out of range, or a goal is unknown.
    """

    def __init__(
        self,
        store: Store,
        *,
        steps: int,
        chunk: int,
        ahead: int,
        cameras: Collection[str] | None = None,
        episodes: Sequence[int] | None = None,
        sentence: str | None = None,
        goal: Collection[str] = (),
    ) -> None:
        if steps < 1 or chunk < 1 or ahead < 0:
            raise ValueError(f"steps and chunk must be at least 1 and ahead at least 0, got {(steps, chunk, ahead)}")
        self.store, self.steps, self.chunk, self.ahead = store, steps, chunk, ahead
        unknown = sorted({*goal} - {*GOALS})
        if unknown:
            raise ValueError(f"a goal is one of {GOALS}, got {unknown}")
        self.goal = tuple(goal)
        self.cameras = list(store.frames if cameras is None else cameras)
        _check_cameras(store, self.cameras)
        self.depth = False
        self.episodes = list(range(len(store.episodes)) if episodes is None else episodes)
        if not self.episodes:
            raise StoreError(f"{store.path}: no episode to cut windows from ({len(store.episodes)} in the store)")
        table = [store.episodes[index] for index in self.episodes]
        self._first = torch.tensor([episode.start for episode in table])
        self._end = torch.tensor([episode.start + episode.length for episode in table])
        self._instructions = [episode.instruction if sentence is None else sentence for episode in table]
        self._short = bool((self._end - self._first < steps).any())
        count = (self._end - self._first - steps).clamp(min=0) + 1
        self._until = count.cumsum(0)

    def __len__(self) -> int:
        return int(self._until[-1])

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
        if bool(((index < 0) | (index >= len(self))).any()):
            raise IndexError(f"window numbers must be in 0 .. {len(self) - 1}, got {index.tolist()}")
        episode = torch.searchsorted(self._until, index, right=True)
        before = torch.where(episode > 0, self._until[episode - 1], 0)
        start, end = self._first[episode] + index - before, self._end[episode, None]
        step = start[:, None] + torch.arange(self.steps)
        action = step[..., None] + torch.arange(self.chunk)
        batch = TensorDict(batch_size=[len(index)])
        batch[keys.STATE] = self.store.state[step.minimum(end - 1)]
        batch[keys.TARGET_CHUNK] = self.store.action[action.minimum(end[..., None] - 1)]
        batch[keys.ACTION_IS_PAD] = action >= end[..., None]
        if self._short:
            batch[keys.STEP_IS_PAD] = step >= end
        batch[keys.INSTRUCTION] = NonTensorStack.from_list([self._instructions[row] for row in episode.tolist()])
        future = start[:, None] + self.steps + torch.arange(self.ahead)
        for name in self.cameras:
            for frames, now, later in self._seen(name):
                batch[keys.under(now, name)] = _pick(frames, step.minimum(end - 1))
                if self.ahead:
                    batch[keys.under(later, name)] = _pick(frames, future.minimum(end - 1))
            if "image" in self.goal:
                batch[keys.under(keys.GOAL_IMAGE, name)] = _pick(self.store.frames[name], end[:, 0] - 1)
        if "state" in self.goal:
            batch[keys.GOAL_STATE] = self.store.state[end[:, 0] - 1]
        if self.ahead:
            batch[keys.FUTURE_IS_PAD] = step + self.ahead >= end
        return batch

    def in_next_episode(self, index: Tensor) -> Tensor:
        """Return for each window the first one of the episode after its own, as `episodes` lists them, round and round.

        Shape:
            index: int64 ``(B,)``, window numbers.
            returns: int64 ``(B,)``, window numbers; of another episode where there is more than one.
        """
        episode = (torch.searchsorted(self._until, index, right=True) + 1) % len(self.episodes)
        return torch.where(episode > 0, self._until[episode - 1], 0)

    def _seen(self, camera: str) -> Iterator[tuple[Tensor, tuple[str, ...], tuple[str, ...]]]:
        """Yield what a camera recorded, with the keys of the window's frames and of those after it."""
        yield self.store.frames[camera], keys.IMAGE, keys.FUTURE
        if self.depth:
            yield self.store.depth[camera], keys.DEPTH, keys.FUTURE_DEPTH


def split_episodes(
    store: Store, *, holdout: float, seed: int = 0, fraction: float = 1.0
) -> tuple[list[int], list[int]]:
    """Divide the episodes into those to train on and those held out.

    Episodes of one task and reset seed show the same layout (a change of goal in mid-episode begins a new one), so they
    always stay together.

    Args:
        store: the recorded episodes.
        holdout: share of the layouts to hold out, 0 for none; otherwise at least one is held out and one kept.
        seed: another seed, another choice.
        fraction: share of the other layouts to train on, at least one. What a smaller share trains on is part of what
            a larger one does, and the episodes held out are the same for all.

    Raises:
        StoreError: nothing would be left on one side.
        ValueError: ``holdout`` is not in ``[0, 1)`` or ``fraction`` not in ``(0, 1]``.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be a share in (0, 1], got {fraction}")
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout must be a share in [0, 1), got {holdout}")
    groups: dict[tuple[str, int], list[int]] = {}
    for index, episode in enumerate(store.episodes):
        layout = -1 - index if episode.seed is None else episode.seed
        groups.setdefault((episode.task, layout), []).append(index)
    members = list(groups.values())
    if holdout and len(members) < 2:
        raise StoreError(f"{store.path}: holding out episodes needs at least 2 layouts, it has {len(members)}")
    count = min(max(1, round(holdout * len(members))), len(members) - 1) if holdout else 0
    order = permute(torch.arange(len(members)), len(members), torch.full((len(members),), seed)).tolist()
    kept, held = order[count:], order[:count]
    kept = kept[: max(1, round(fraction * len(kept)))]
    return sorted(i for group in kept for i in members[group]), sorted(i for group in held for i in members[group])


def _pick(frames: Tensor, rows: Tensor) -> Tensor:
    """Copy rows with numpy: unlike torch it starts no threads, which would get in the way of those that train."""
    picked = torch.empty(*rows.shape, *frames.shape[1:], dtype=frames.dtype)
    np.take(frames.numpy(), rows.numpy(), axis=0, out=picked.numpy(), mode="clip")
    return picked


def _check_cameras(store: Store, cameras: Sequence[str]) -> None:
    for name in cameras:
        if name not in store.frames:
            near = difflib.get_close_matches(name, list(store.frames), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise StoreError(f"{store.path} has the cameras {sorted(store.frames)}, not {name!r}{hint}")
