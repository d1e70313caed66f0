"""Write stores: append episodes to raw files, and join what parallel workers recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.files import fresh_folder
from seerkit.data.store import FORMAT, META, STEPS, TABLE, VERSION, Conventions, Episode, Store, StoreError, array_file

Array = Tensor | np.ndarray


class StoreWriter:
    """Append episodes to a new store; memory does not grow with their number.

    Files are written in a hidden sibling folder, which gets its name when the ``with`` block ends well. After an
    exception, or without a single episode, nothing is left.

    Args:
        path: where the store will be; must not exist.
        conventions: what the numbers mean; every episode must fit.

    Example:
        ```python
        with StoreWriter("runs/reach/store", Conventions(cameras={"primary": (3, 64, 64)})) as writer:
            writer.add({"primary": frames}, state, action, instruction="reach the block")
        ```
    """

    def __init__(self, path: str | Path, conventions: Conventions) -> None:
        self.path = Path(path)
        self.conventions = conventions
        self.episodes = 0
        self.steps = 0
        self._stack = contextlib.ExitStack()
        self._files: dict[tuple[str, ...], IO[bytes]] = {}
        self._table: IO[str] | None = None

    def __enter__(self) -> StoreWriter:
        if self.path.exists():
            raise StoreError(f"{self.path} exists already; choose another name or remove it")
        self._folder = self._stack.enter_context(fresh_folder(self.path))
        self._stack.push(self._finish)
        for key in self.conventions.arrays():
            file = array_file(self._folder, key)
            file.parent.mkdir(parents=True, exist_ok=True)
            self._files[key] = self._stack.enter_context(file.open("wb"))
        self._table = self._stack.enter_context((self._folder / TABLE).open("w", encoding="utf-8"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add(
        self,
        images: Mapping[str, Array],
        state: Array,
        action: Array,
        *,
        instruction: str,
        success: bool = True,
        seed: int | None = None,
        task: str = "",
        depth: Mapping[str, Array] | None = None,
    ) -> Episode:
        """Append one episode and return its line of the table.

        Shape:
            images: uint8 ``(L, 3, H, W)`` per camera.
            state: ``(L, S)``.
            action: ``(L, A)``, what the demonstrator wanted at each step; gripper +1 open / -1 closed.
            depth: uint16 ``(L, 1, H, W)`` millimetres per camera (`seerkit.data.depth.to_millimetres`), if the
                conventions say so.

        Raises:
            StoreError: an array is missing, not finite or of another shape or type than the conventions say.
        """
        if self._table is None:
            raise StoreError("the writer is not open; use it in a with block")
        arrays: dict[tuple[str, ...], Any] = {keys.under(keys.IMAGE, name): frames for name, frames in images.items()}
        arrays |= {keys.under(keys.DEPTH, name): frames for name, frames in (depth or {}).items()}
        arrays |= {keys.STATE: state, (keys.ACTION,): action}
        length = len(action)
        checked = self._check(arrays, length)
        checked[keys.IS_INIT,] = torch.arange(length)[:, None] == 0
        for key, array in checked.items():
            self._files[key].write(array.contiguous().numpy().data)
        episode = Episode(self.steps, length, instruction, bool(success), seed, task)
        self._table.write(json.dumps(dataclasses.asdict(episode), ensure_ascii=False) + "\n")
        self.episodes += 1
        self.steps += length
        return episode

    def _check(self, arrays: Mapping[tuple[str, ...], Array], length: int) -> dict[tuple[str, ...], Tensor]:
        kinds = self.conventions.arrays()
        expected = sorted(key for key in kinds if key != (keys.IS_INIT,))
        if sorted(arrays) != expected:
            raise StoreError(f"an episode must have the arrays {expected}, got {sorted(arrays)}")
        if length < 1:
            raise StoreError("an episode must have at least one step, got 0")
        checked = {}
        for key, array in arrays.items():
            dtype, shape = kinds[key]
            tensor = torch.as_tensor(array)
            if tensor.is_floating_point() and dtype == torch.float32:
                tensor = tensor.float()
            if tensor.shape != (length, *shape) or tensor.dtype != dtype:
                given = f"{tuple(tensor.shape)} {tensor.dtype}"
                raise StoreError(f"{key} must be {(length, *shape)} {dtype}, got {given}")
            if tensor.is_floating_point() and not tensor.isfinite().all():
                row = int((~tensor.isfinite()).any(-1).nonzero()[0])
                raise StoreError(f"{key} must be finite, got {tensor[row].tolist()} at step {row}")
            checked[key] = tensor
        return checked

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if not self.episodes:
            raise StoreError(f"{self.path}: no episode was added, so there is nothing to store")
        conventions = dataclasses.asdict(self.conventions)
        meta = {"format": FORMAT, "version": VERSION, "steps": self.steps, "episodes": self.episodes}
        text = json.dumps({**meta, "conventions": conventions}, indent=1, ensure_ascii=False)
        (self._folder / META).write_text(text + "\n", encoding="utf-8")
        _describe(self._folder / STEPS, self.conventions, self.steps)


def merge(stores: Sequence[Store], out: str | Path, *, order: Sequence[tuple[int, int]] | None = None) -> Store:
    """Copy the episodes of several stores into a new one.

    Args:
        stores: what to join; their conventions must be equal.
        out: where the new store will be; must not exist.
        order: which episodes, in which order, as ``(store, episode)``; all of them, store by store, if not given.

    Raises:
        StoreError: there is no store, or two differ in their conventions.
    """
    if not stores:
        raise StoreError("merge needs at least one store, got none")
    for other in stores[1:]:
        if other.conventions != stores[0].conventions:
            raise StoreError(f"{other.path} has {other.conventions}, {stores[0].path} has {stores[0].conventions}")
    if order is None:
        order = [(place, index) for place, store in enumerate(stores) for index in range(len(store.episodes))]
    with StoreWriter(out, stores[0].conventions) as writer:
        for place, index in order:
            store = stores[place]
            arrays = store.episode(index)
            images = {name: arrays[keys.under(keys.IMAGE, name)] for name in store.frames}
            depth = {name: arrays[keys.under(keys.DEPTH, name)] for name in store.depth}
            facts = dataclasses.asdict(store.episodes[index])
            about = {name: facts[name] for name in ("instruction", "success", "seed", "task")}
            writer.add(images, arrays[keys.STATE], arrays[keys.ACTION,], depth=depth, **about)
    return Store(out)


def _describe(folder: Path, conventions: Conventions, steps: int) -> None:
    """Write the ``meta.json`` files by which `TensorDict.load_memmap` finds the arrays below ``folder``."""
    entries: dict[Path, dict[str, Any]] = {}
    for key, (dtype, shape) in conventions.arrays().items():
        leaf = {"device": "cpu", "shape": [steps, *shape], "dtype": str(dtype), "is_nested": False}
        entries.setdefault(folder.joinpath(*key[:-1]), {})[key[-1]] = leaf
        for depth in range(len(key) - 1):
            entries.setdefault(folder.joinpath(*key[:depth]), {})[key[depth]] = {"type": "TensorDict"}
    kind = "<class 'tensordict._td.TensorDict'>"
    for place, entry in entries.items():
        text = json.dumps({**entry, "shape": [steps], "device": "cpu", "_type": kind})
        (place / "meta.json").write_text(text, encoding="utf-8")
