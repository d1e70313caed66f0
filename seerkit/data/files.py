"""Write a folder or a file under a temporary name and give it its real name only when it is complete."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def fresh_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Hand out an empty hidden sibling of ``path``; rename it to ``path`` on success, remove it on an exception.

    A process that is killed leaves only the hidden sibling, which the next writer of the same path on the same machine
    removes. Nobody ever sees a half-written folder under the real name.

    Args:
        path: the folder's final place; its parent is created.
        replace: whether a folder of that name may be there already; it stays readable until the last moment.

    Raises:
        FileExistsError: ``path`` exists and ``replace`` is not set.
    """
    if path.exists() and not replace:
        raise FileExistsError(f"{path} exists already; choose another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    draft = _sibling(path, "tmp")
    draft.mkdir()
    try:
        yield draft
        _put(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def fresh_file(path: Path) -> Iterator[Path]:
    """Hand out a hidden sibling of ``path`` to write; rename it to ``path`` on success, remove it on an exception.

    Raises:
        FileExistsError: ``path`` exists.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    draft = _sibling(path, "tmp")
    try:
        yield draft
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees either the old or the new file, never a part."""
    draft = _sibling(path, "tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def inside(folder: Path, name: str) -> Path:
    """Return the place of a file that a data set names, which must lie in its folder.

    Raises:
        ValueError: the name is absolute or leads out of the folder.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"expected a path inside {folder}, got {name!r}")
    return folder / name


def sweep(path: Path) -> None:
    """Remove what writers of ``path`` left behind when they were killed (same machine, process gone)."""
    host = socket.gethostname()
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.{host}-*"):
        owner = stale.name.rpartition("-")[2]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}.{socket.gethostname()}-{os.getpid()}")


def _put(draft: Path, path: Path) -> None:
    if not path.exists():
        draft.rename(path)
        return
    old = _sibling(path, "old")
    path.rename(old)
    try:
        draft.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
