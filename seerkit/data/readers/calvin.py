"""CALVIN folders."""

from __future__ import annotations

from pathlib import Path

from seerkit.data.source import Source, StoreError

LOOKS = (
    "a folder with ep_start_end_ids.npy and episode_0000000.npz files, or with such folders training/ and validation/"
)


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return any((path / name / "ep_start_end_ids.npy").is_file() for name in (".", "training", "validation"))


def read(path: Path) -> Source:
    """Open it.

    Raises:
        StoreError: it is damaged.
    """
    raise StoreError(f"{path}: not yet")
