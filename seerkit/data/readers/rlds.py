"""RLDS data sets (DROID, Open X-Embodiment) as TFRecord files."""

from __future__ import annotations

from pathlib import Path

from seerkit.data.source import Source, StoreError

LOOKS = "a folder with dataset_info.json and .tfrecord files"


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return path.is_dir() and any(path.glob("*.tfrecord*"))


def read(path: Path) -> Source:
    """Open it.

    Raises:
        StoreError: it is damaged.
    """
    raise StoreError(f"{path}: not yet")
