"""LIBERO files."""

from __future__ import annotations

from pathlib import Path

from seerkit.data.source import Source, StoreError

LOOKS = "a file of demonstrations ending in .hdf5, or a folder of them"


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return (path.is_file() and path.suffix == ".hdf5") or (path.is_dir() and any(path.glob("*.hdf5")))


def read(path: Path) -> Source:
    """Open it.

    Raises:
        StoreError: it is damaged.
    """
    raise StoreError(f"{path}: not yet")
