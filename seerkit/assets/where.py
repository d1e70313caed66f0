"""Find a simulator's files and compare them with the list of their hashes that comes with the package."""

import functools
import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path

from seerkit.cache import cache_folder

VARIABLES = {"calvin": "SEERKIT_CALVIN_ASSETS"}
"""The simulators, and the environment variable that says where the files of each lie."""


def folder(simulator: str) -> Path:
    """Say where a simulator's files are looked for: the environment variable's folder, else one in the cache.

    Raises:
        ValueError: if there is no such simulator.
    """
    given = os.environ.get(VARIABLES[_known(simulator)])
    return Path(given) if given else cache_folder("assets") / simulator


@functools.cache
def hashes(simulator: str) -> dict[str, str]:
    """Give the sha256 of each file a simulator needs, by its path in the folder."""
    listed = files("seerkit.assets").joinpath(f"{_known(simulator)}.json")
    return json.loads(listed.read_text(encoding="utf-8"))


def require(simulator: str) -> Path:
    """Give the folder of a simulator's files after reading all of them: a changed mesh would change every score.

    Raises:
        FileNotFoundError: if a file is missing; says how to get it.
        ValueError: if a file is not the one the package knows.
    """
    place = folder(simulator)
    missing, other = compare(simulator, place)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(hashes(simulator))} files of {simulator} are not in {place}, such as "
            f"{missing[0]}; get them with: seerkit assets {simulator} --from PATH, or --download"
        )
    if other:
        raise ValueError(
            f"{len(other)} files in {place} are not those of {simulator}, such as {other[0]}; "
            f"get the right ones with: seerkit assets {simulator} --from PATH, or --download"
        )
    return place


def compare(simulator: str, place: Path) -> tuple[list[str], list[str]]:
    """Compare a folder with the list of hashes: which files are missing, and which are others."""
    missing, other = [], []
    for name, wanted in hashes(simulator).items():
        path = place / name
        if not path.is_file():
            missing.append(name)
        elif digest(path.read_bytes()) != wanted:
            other.append(name)
    return missing, other


def digest(content: bytes) -> str:
    """Give the sha256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def _known(simulator: str) -> str:
    if simulator not in VARIABLES:
        raise ValueError(f"expected a simulator of {tuple(VARIABLES)}, given {simulator!r}")
    return simulator
