"""Where seerkit keeps what it can get again."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Give the folder for one kind of things: below ``$SEERKIT_CACHE``, else below the user's cache."""
    base = os.environ.get("SEERKIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "seerkit"
    return Path(base) / name
