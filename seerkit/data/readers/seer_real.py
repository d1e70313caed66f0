"""Seer's real-robot folders."""

from __future__ import annotations

from pathlib import Path

from seerkit.data.source import Source, StoreError

LOOKS = "a folder of episodes 000000/steps/0000/ with image_primary.jpg and other.npz (or .h5)"


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return path.is_dir() and any(path.glob("*/steps/*/other.*"))


def read(path: Path) -> Source:
    """Open it.

    Raises:
        StoreError: it is damaged.
    """
    raise StoreError(f"{path}: not yet")
