"""Small stores for the tests of what may happen to one, and a way to let it happen in another process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from seerkit.data.store import Conventions, Store
from seerkit.data.writer import StoreWriter
from tests.conftest import ROOT
from tests.data import made

EPISODES = made.episodes(4, (6, 9, 7, 5), size=(24, 32), wrist=(16, 16))
CONVENTIONS = Conventions(cameras={"primary": (3, 24, 32), "wrist": (3, 16, 16)})


def add(writer: StoreWriter, number: int, *, seed: int | None = None) -> None:
    episode = EPISODES[number]
    about = {"instruction": episode["instruction"], "seed": number if seed is None else seed, "task": "made"}
    writer.add(episode["images"], episode["state"], episode["action"], **about)


def write(path: Path, numbers: tuple[int, ...] = (0, 1, 2, 3), **options: Any) -> Store:  # noqa: ANN401
    with StoreWriter(path, CONVENTIONS, **options) as writer:
        for number in numbers:
            add(writer, number)
    return Store(path)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script that knows this module as ``here``."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom tests.data import stores as here\n"
    code = head + "from seerkit.data.writer import StoreWriter\n" + textwrap.dedent(script)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=200)
