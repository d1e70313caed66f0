"""Take a simulator's files out of checkouts and archives of the original.

Files are recognised by the end of their path and by their content, and written under the path the package's own list
has: no path of an archive is ever used to write.
"""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from seerkit.assets.where import digest, hashes
from seerkit.cache import cache_folder
from seerkit.data.files import fresh_folder

LARGEST = 16 * 2**20
"""Bytes; no file that is looked for is as large, so that a larger one is not read."""
DAMAGED = (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
Member = tuple[str, Callable[[], bytes]]
"""Path and a way to read the content."""


def take(simulator: str, sources: Sequence[Path]) -> Path:
    """Copy a simulator's files into the cache, all or none, and give their folder.

    Args:
        simulator: such as ``"calvin"``.
        sources: folders, zip or tar files which together hold the files; other files in them are left alone.

    Raises:
        FileNotFoundError: if there is no such source, or a file is in none of them.
        ValueError: if a source is neither a folder nor an archive or is damaged, or a file's content is not the one
            known.
    """
    wanted = hashes(simulator)
    ends = {name.partition("/")[2]: name for name in wanted}  # their files may lie in another folder
    found: dict[str, bytes] = {}
    other: set[str] = set()
    for source in sources:
        for name, content in _candidates(source, ends, found):
            if digest(content) == wanted[name]:
                found[name] = content
            else:
                other.add(name)
    missing = [name for name in wanted if name not in found]
    if missing:
        _complain(simulator, sources, missing, sorted(other - found.keys()))
    place = cache_folder("assets") / simulator
    with fresh_folder(place, replace=True) as draft:
        for name, content in found.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return place


def _candidates(source: Path, ends: dict[str, str], found: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Read what may be a listed file that is not found yet."""
    try:
        for path, read in _members(source):
            name = _meant(ends, path)
            if name is not None and name not in found:
                yield name, read()
    except DAMAGED as error:
        raise ValueError(f"{source} is damaged or cut short: {error}; nothing was written") from error


def _meant(ends: dict[str, str], path: str) -> str | None:
    """Give the listed file that a path means, told by how the path ends."""
    parts = PurePosixPath(path).parts
    return next((ends[end] for i in range(len(parts)) if (end := "/".join(parts[i:])) in ends), None)


def _complain(simulator: str, sources: Sequence[Path], missing: list[str], other: list[str]) -> None:
    given = ", ".join(map(str, sources))
    if other:
        raise ValueError(
            f"{len(other)} files in {given} are not those of {simulator}, such as {other[0]}: changed, cut short, "
            "or with other line ends; nothing was written"
        )
    raise FileNotFoundError(
        f"{len(missing)} of the {len(hashes(simulator))} files of {simulator} are not in {given}, such as "
        f"{missing[0]}; nothing was written (--from may be given several times)"
    )


def _members(source: Path) -> Iterator[Member]:
    if source.is_dir():
        yield from _of_folder(source)
    elif not source.is_file():
        raise FileNotFoundError(f"expected a folder or an archive, but there is no {source}")
    elif zipfile.is_zipfile(source):
        yield from _of_zip(source)
    elif tarfile.is_tarfile(source):
        yield from _of_tar(source)
    else:
        raise ValueError(f"expected a folder, a zip or a tar file, given {source}")


def _of_folder(source: Path) -> Iterator[Member]:
    for where, _, names in os.walk(source):
        for name in names:
            path = Path(where, name)
            yield path.relative_to(source.parent).as_posix(), lambda path=path: _at_most(path.open("rb").read)


def _of_zip(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, lambda member=member: _at_most(archive.open(member).read)


def _of_tar(source: Path) -> Iterator[Member]:
    with tarfile.open(source) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None:
                yield member.name, lambda stream=stream: _at_most(stream.read)


def _at_most(read: Callable[[int], bytes]) -> bytes:
    return read(LARGEST)
