"""LeRobot data sets, v2.1 and v3.0."""

from __future__ import annotations

from pathlib import Path

from seerkit.data.source import Source, StoreError

LOOKS = "a folder with meta/info.json"


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return (path / "meta" / "info.json").is_file()


def read(path: Path) -> Source:
    """Open it.

    Raises:
        StoreError: it is damaged.
    """
    raise StoreError(f"{path}: not yet")
