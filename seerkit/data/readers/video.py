"""Video clips with captions."""

from __future__ import annotations

from pathlib import Path

from seerkit.data.source import Source, StoreError

LOOKS = "a folder with captions.jsonl and the clips it names"


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return (path / "captions.jsonl").is_file()


def read(path: Path) -> Source:
    """Open it.

    Raises:
        StoreError: it is damaged.
    """
    raise StoreError(f"{path}: not yet")
