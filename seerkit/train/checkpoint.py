"""Checkpoints: folders that are complete or not there, with links to the last and the best one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch

from seerkit.data.files import fresh_folder
from seerkit.train.trainer import Trainer, TrainingError

STATE = "training_state.pt"
SUMMARY = "training.json"
LAST, BEST = "last", "best"


class Checkpoints:
    """Keep a run's checkpoints below ``<out>/checkpoints``.

    ```
    checkpoints/
      000200/              what `policy.save_pretrained` writes (averaged weights, if the run averages), and
        training_state.pt  trained weights, optimiser, average, updates done, settings
        training.json      the same run in words: update, metrics, settings, data
      last -> 000200       relative links
      best -> 000100       lowest validation loss
    ```
    Random numbers and the order of windows are functions of the seed and the update, so no generator is saved.

    Args:
        out: the run's folder.
        keep: how many checkpoints stay, besides the best one.
    """

    def __init__(self, out: Path, *, keep: int) -> None:
        self.folder = out / "checkpoints"
        self.keep = keep
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob(".*"):  # drafts of a run that was killed
            shutil.rmtree(stale) if stale.is_dir() and not stale.is_symlink() else stale.unlink()

    def save(self, trainer: Trainer, *, summary: dict[str, Any], best: bool = False) -> Path:
        """Write a checkpoint, point the links at it and drop the oldest ones.

        Args:
            trainer: whose policy and state to save.
            summary: what ``training.json`` says.
            best: whether this is the best one so far.
        """
        path = self.folder / f"{trainer.done:06d}"
        with fresh_folder(path, replace=True) as draft:
            with trainer.averaged():
                trainer.policy.save_pretrained(draft)
            torch.save(trainer.state_dict(), draft / STATE)
            (draft / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        _link(self.folder / LAST, path.name)
        if best:
            _link(self.folder / BEST, path.name)
        self._drop()
        return path

    def last(self) -> Path | None:
        """Return the newest checkpoint, ``None`` if there is none."""
        link = self.folder / LAST
        return link.resolve() if link.exists() else None

    def load(self, trainer: Trainer) -> dict[str, Any]:
        """Put the newest checkpoint's state into ``trainer`` and return its summary.

        Raises:
            TrainingError: there is no checkpoint, it cannot be read or it belongs to another run.
        """
        path = self.last()
        if path is None:
            raise TrainingError(f"nothing to resume: {self.folder / LAST} does not exist")
        for name in (STATE, SUMMARY):
            if not (path / name).is_file():
                raise TrainingError(f"{path / name} is missing, so the run cannot be resumed")
        try:
            state = torch.load(path / STATE, map_location=trainer.device, weights_only=True)
        except (RuntimeError, EOFError, OSError, UnpicklingError, BadZipFile) as error:
            raise TrainingError(
                f"{path / STATE} cannot be read ({(path / STATE).stat().st_size} bytes): {error}"
            ) from error
        trainer.load_state_dict(state)
        return json.loads((path / SUMMARY).read_text(encoding="utf-8"))

    def _drop(self) -> None:
        present = sorted(entry for entry in self.folder.iterdir() if entry.is_dir() and entry.name.isdigit())
        linked = {(self.folder / name).resolve() for name in (LAST, BEST)}
        for path in present[: -self.keep]:
            if path.resolve() not in linked:
                shutil.rmtree(path)


def _link(link: Path, target: str) -> None:
    """Point ``link`` at ``target`` beside it; a reader sees the old or the new one."""
    draft = link.with_name(f".{link.name}.link.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
