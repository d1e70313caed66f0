"""Download a simulator's files from the original's repositories, each at one commit."""

import http.client
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from seerkit.assets.take import take
from seerkit.assets.where import hashes

PINNED = {
    "calvin": (
        "https://github.com/mees/calvin_env/archive/797142c588c21e76717268b7b430958dbd13bf48.tar.gz",
        "https://github.com/mees/calvin/archive/fa03f01f19c65920e18cf37398a9ce859274af76.tar.gz",
    )
}
"""Archives that together hold the files of each simulator."""
PATIENCE = 60.0
"""Seconds to wait for a server to say something."""
LARGEST, PIECE = 2**28, 2**20
"""Bytes of an archive, and of what is read of it at a time."""


def download(
    simulator: str, *, urls: Sequence[str] | None = None, say: Callable[[str], object] = lambda _: None
) -> Path:
    """Fetch archives and take a simulator's files out of them; all files or none, and each compared with its hash.

    Args:
        simulator: such as ``"calvin"``.
        urls: of the archives; those of `PINNED` by default.
        say: told of each address before it is fetched.

    Raises:
        OSError: if an archive cannot be fetched, or is larger than 256 MiB.
        FileNotFoundError, ValueError: see `take`.
    """
    hashes(simulator)
    with tempfile.TemporaryDirectory() as folder:
        archives = []
        for number, url in enumerate(urls or PINNED[simulator]):
            say(url)
            archives.append(Path(folder, f"{number}.tar.gz"))
            with archives[-1].open("wb") as file:
                _fetch(url, file, simulator)
        return take(simulator, archives)


def _fetch(url: str, file: BinaryIO, simulator: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            while piece := answer.read(PIECE):
                file.write(piece)
                if file.tell() > LARGEST:
                    raise OSError(f"it is larger than {LARGEST // 2**20} MiB")
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"cannot fetch {url}: {error}; where there is no way to it, bring it along and use: "
            f"seerkit assets {simulator} --from PATH"
        ) from error
