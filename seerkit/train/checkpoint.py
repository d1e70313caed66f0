"""Checkpoints: folders that are complete or not there, written while training goes on, with links to last and best."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor, distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from seerkit.data.files import fresh_folder
from seerkit.train.index import IndexReader
from seerkit.train.parallel import World
from seerkit.train.state import Spare, check_same_run, place_for, tensors
from seerkit.train.trainer import Trainer, TrainingError

STATE = "training_state"
SUMMARY = "training.json"
LAST, BEST = "last", "best"


class Checkpoints:
    """Keep a run's checkpoints below ``<out>/checkpoints``.

    ```
    checkpoints/
      000200/              what `policy.save_pretrained` writes (averaged weights, if the run averages), and
        training_state/    trained weights, optimiser and average, in torch.distributed.checkpoint's format
        training.json      the run in words: update, metrics, settings, data
      last -> 000200       relative links
      best -> 000100       lowest validation loss
    ```
    `save` copies what is to be saved and returns; a thread writes the copy. Folder and links appear when everything is
    on the disk. Several processes need one file system; where they hold parts of the weights, each writes its own, and
    any other number of processes can go on from them. Random numbers and the order of windows are functions of the seed
    and the update, so no generator is saved.

    Use it as a context: its end waits for the last checkpoint.

    Args:
        out: the run's folder.
        keep: how many checkpoints stay, besides the best one.
        spare: a copy of the policy, to write from.
        world: the processes of the run.
    """

    def __init__(self, out: Path, *, keep: int, spare: Spare, world: World) -> None:
        self.folder = out / "checkpoints"
        self.keep, self.spare, self.world = keep, spare, world
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="seerkit-checkpoint")
        self._pending: Future[None] | None = None
        self._quiet = warnings.catch_warnings()  # entered by the main thread: filters belong to the whole process
        cuda = world.device.type == "cuda"
        self._stager = DefaultStager(
            StagingOptions(
                use_pinned_memory=cuda, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=cuda
            )
        )
        # the thread talks to its like in other processes beside the training, so it needs a line of its own
        self._line: Any = distributed.new_group(backend="gloo") if world.size > 1 else None
        if world.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stale in self.folder.glob(".*"):  # drafts of a run that was killed
                shutil.rmtree(stale) if stale.is_dir() and not stale.is_symlink() else stale.unlink()
        world.meet()

    def __enter__(self) -> Checkpoints:
        self._quiet.__enter__()
        warnings.filterwarnings("ignore", message=".*assuming the intent is to (save|load) in a single process")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown(wait=True)
        self._stager.close()
        self._quiet.__exit__(None, None, None)
        if error is None:
            self.wait()
            self.world.meet()

    def save(self, trainer: Trainer, *, summary: dict[str, Any], best: bool = False) -> None:
        """Begin to write a checkpoint, once the one before is complete; every process must call it.

        When it is complete, the links point at it and the oldest ones are dropped.

        Args:
            trainer: whose policy and state to save.
            summary: what ``training.json`` says.
            best: whether this is the best one so far.

        Raises:
            OSError: the checkpoint before could not be written.
        """
        self.wait()
        self.spare.refresh(trainer)
        split = trainer.replicas.sharded
        state: Any = self._stager.stage(tensors(trainer)) if split or self.world.first else {}
        words = json.dumps({**summary, "frozen": self.spare.frozen, "processes": self.world.size}, indent=1)
        path = self.folder / f"{trainer.done:06d}"
        self._pending = self._writer.submit(self._write, path, state, words, split=split, best=best)

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is complete.

        Raises:
            OSError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def last(self) -> Path | None:
        """Return the newest checkpoint, also where a copy of the folder lost its links; ``None`` if there is none."""
        link = self.folder / LAST
        return link.resolve() if link.exists() else next(iter(self._present()[-1:]), None)

    def load(self, trainer: Trainer) -> dict[str, Any]:
        """Put the newest checkpoint's state into ``trainer`` and return its summary.

        Raises:
            TrainingError: there is no checkpoint, it cannot be read or it belongs to another run.
        """
        path = self.last()
        if path is None:
            raise TrainingError(f"nothing to resume: {self.folder / LAST} does not exist")
        summary = _read_summary(path)
        check_same_run(trainer, summary, frozen=self.spare.frozen)
        reader = _open(path / STATE)
        shapes = {name: tuple(entry.size) for name, entry in reader.tensors.items()}
        _read(reader, path / STATE, place_for(trainer, shapes))
        trainer.done = summary["update"]
        return summary

    def _write(self, path: Path, state: dict[str, Tensor], words: str, *, split: bool, best: bool) -> None:
        draft_state = self.folder / f".{path.name}.state"  # one name for all processes
        if split:
            save(state, checkpoint_id=draft_state, process_group=self._line)
        elif self.world.first:
            save(state, checkpoint_id=draft_state, no_dist=True)
        if not self.world.first:
            return
        try:
            with fresh_folder(path, replace=True) as draft:
                self.spare.policy.save_pretrained(draft)
                draft_state.rename(draft / STATE)
                (draft / SUMMARY).write_text(words + "\n", encoding="utf-8")
        finally:
            shutil.rmtree(draft_state, ignore_errors=True)
        _link(self.folder / LAST, path.name)
        if best:
            _link(self.folder / BEST, path.name)
        self._drop()

    def _drop(self) -> None:
        linked = {(self.folder / name).resolve() for name in (LAST, BEST)}
        for path in self._present()[: -self.keep]:
            if path.resolve() not in linked:  # a kill leaves it whole, or hidden
                shutil.rmtree(path.rename(path.with_name(f".{path.name}.old")))

    def _present(self) -> list[Path]:
        """List the checkpoints, oldest first."""
        found = (entry for entry in self.folder.iterdir() if entry.is_dir() and entry.name.isdigit())
        return sorted(found, key=lambda path: int(path.name))


def _read_summary(path: Path) -> dict[str, Any]:
    if (path / "training_state.pt").is_file():
        raise TrainingError(
            f"{path / 'training_state.pt'} was written by an earlier version, which this one cannot continue; begin a "
            "new run from its weights with init_from"
        )
    for name in (f"{STATE}/.metadata", SUMMARY):
        if not (path / name).is_file():
            raise TrainingError(f"{path / name} is missing, so the run cannot be resumed")
    try:
        summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
        if missing := sorted({"update", "total", "settings", "frozen"} - summary.keys()):
            raise ValueError(f"it lacks {missing}")
    except (ValueError, AttributeError) as error:
        raise TrainingError(f"{path / SUMMARY} cannot be read: {error}") from error
    return summary


def _open(folder: Path) -> IndexReader:
    try:
        return IndexReader(folder)
    except Exception as error:  # whatever a damaged pickle makes of itself
        raise TrainingError(f"{folder / '.metadata'} cannot be read: {error!r:.200}") from error


def _read(reader: IndexReader, folder: Path, into: dict[str, Tensor]) -> None:
    try:
        load(into, storage_reader=reader, no_dist=True)
    except (CheckpointException, RuntimeError, OSError, EOFError, ValueError) as error:
        sizes = {file.name: file.stat().st_size for file in sorted(folder.glob("*.distcp"))}
        raise TrainingError(f"{folder} cannot be read (bytes: {sizes}): {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    causes = [*error.failures.values()] if isinstance(error, CheckpointException) else [(error, None)]
    return repr(causes[0][0])[:300]


def _link(link: Path, target: str) -> None:
    """Point ``link`` at ``target`` beside it; a reader sees the old or the new one."""
    draft = link.with_name(f".{link.name}.link.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
