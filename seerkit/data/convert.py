"""Copy recorded episodes of any format into a store; a copy that was interrupted goes on where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from seerkit.data.files import write_text
from seerkit.data.source import Source, StoreError, fingerprint
from seerkit.data.store import FRAME_KINDS, META, FrameKind, Store
from seerkit.data.writer import StoreWriter, copy_episode

COMMIT_EVERY = 30.0
"""Seconds between commits: what a crash can lose."""

NOTE = "source.json"
Progress = Callable[[int, int], None]


def convert(source: Source, out: str | Path, *, frames: FrameKind = "raw", progress: Progress | None = None) -> Store:
    """Copy a source into a new store.

    The copy grows in a hidden sibling of ``out``, committed twice a minute; a second call with the same source goes on
    there. ``out`` appears when it is complete.

    Args:
        source: what to copy.
        out: where the store will be; must not exist.
        frames: ``"raw"`` or ``"jpeg"``, see `StoreWriter`.
        progress: is told steps copied and steps in all.

    Raises:
        StoreError: ``out`` exists, an interrupted copy there is of something else, or an episode is damaged; what was
            committed before stays for the next call.
        ValueError: ``frames`` is of no known kind.
    """
    out = Path(out)
    if out.exists():
        raise StoreError(f"{out} exists already; choose another name or remove it")
    if frames not in FRAME_KINDS:
        raise ValueError(f"frames must be one of {FRAME_KINDS}, got {frames!r}")
    draft = out.with_name(f".{out.name}.converting")
    _begin(draft, source, frames)
    segments = source.segments is not None
    with StoreWriter(draft, source.conventions, frames=frames, segments=segments, append=True) as writer:
        committed = time.monotonic()
        _tell(progress, source, writer.steps, 0)
        for index in range(writer.episodes, len(source.episodes)):
            copy_episode(writer, source, index, progress=partial(_tell, progress, source, writer.steps))
            if time.monotonic() - committed > COMMIT_EVERY:
                writer.commit()
                committed = time.monotonic()
    draft.rename(out)
    out.joinpath(NOTE).unlink()
    return Store(out)


def _tell(progress: Progress | None, source: Source, before: int, steps: int) -> None:
    if progress is not None:
        progress(before + steps, len(source))


def _begin(draft: Path, source: Source, frames: FrameKind) -> None:
    """Note what is copied, or make sure that an interrupted copy is of the same."""
    note = {"path": str(source.path.resolve()), "format": source.format, "table": fingerprint(source), "frames": frames}
    if (file := draft / NOTE).is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found != note:
            raise StoreError(
                f"{draft} holds an interrupted copy of {found.get('path')} ({found.get('format')}, "
                f"{found.get('frames')}), which has changed or is not {source.path}; remove it to start over"
            )
        return
    if (draft / META).exists():
        raise StoreError(f"{draft} is in the way; remove it")
    try:
        draft.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(note))
    except OSError as error:
        raise StoreError(f"{draft} cannot be written: {error}") from error
