"""Look through recorded episodes for damage."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.convert import Progress
from seerkit.data.jpeg import JpegRows
from seerkit.data.rows import take
from seerkit.data.source import Source
from seerkit.data.store import SEGMENTS, TABLE, Store, array_file, read_meta
from seerkit.data.writer import BLOCK, check_arrays


@dataclasses.dataclass(frozen=True)
class Finding:
    """Name something wrong.

    Args:
        episode: in which episode; ``None`` if in none.
        array: in which array, such as ``observation/image/primary``; empty if in several.
        text: what is wrong.
    """

    episode: int | None
    array: str
    text: str


def check(source: Source, *, progress: Progress | None = None) -> Iterator[Finding]:
    """Read every step of a source and yield what is wrong with it.

    Arrays must be readable, of their shape and type, and finite; a store's arrays and tables must have their checksums.

    Args:
        source: what to read.
        progress: is told episodes read and episodes in all.
    """
    if isinstance(source, Store):
        yield from _tables(source)
    for index in range(len(source.episodes)):
        yield from _episode(source, index)
        if progress is not None:
            progress(index + 1, len(source.episodes))


def _episode(source: Source, index: int) -> Iterator[Finding]:
    """Read an episode, `BLOCK` steps at a time: one of CALVIN has gigabytes of pictures."""
    episode, arrays, sums = source.episodes[index], source.arrays(), dict[str, int]()
    for rows in torch.arange(episode.start, episode.end).split(BLOCK):
        try:
            block = {key: take(array, rows) for key, array in arrays.items()}
            check_arrays(source.conventions, block, len(rows), first=int(rows[0]) - episode.start)
        except (RuntimeError, OSError, ValueError) as error:
            yield Finding(index, "", str(error))
            return
        if isinstance(source, Store):
            _add(sums, source, block, rows)
    for name, total in sums.items() if episode.checksums else ():
        if name not in episode.checksums:
            yield Finding(index, name, "no checksum was recorded")
        elif total != episode.checksums[name]:
            yield Finding(index, name, f"checksum {total:08x}, recorded {episode.checksums[name]:08x}: damaged")


def _add(sums: dict[str, int], store: Store, block: dict[tuple[str, ...], Tensor], rows: Tensor) -> None:
    """Go on with the checksum of every array."""
    begins = np.fromfile(array_file(store.path, (keys.IS_INIT,)), np.uint8, len(rows), offset=int(rows[0]))
    for key, array in {**block, (keys.IS_INIT,): torch.from_numpy(begins)}.items():
        frames = store.frames.get(key[-1]) if key[:-1] == keys.IMAGE else None
        blobs = frames.encoded(rows).blobs if isinstance(frames, JpegRows) else [array.contiguous().numpy().data]
        name = "/".join(key)
        for blob in blobs:
            sums[name] = zlib.crc32(blob, sums.get(name, 0))


def _tables(store: Store) -> Iterator[Finding]:
    for name, recorded in read_meta(store.path).get("tables", {}).items():
        count = len(store.episodes) if name == TABLE else len(store.segments or ())
        given = zlib.crc32(b"".join((store.path / name).read_bytes().splitlines(keepends=True)[:count]))
        if given != recorded:
            yield Finding(None, name, f"checksum {given:08x}, recorded {recorded:08x}: damaged, or edited by hand")


def tails(source: Source) -> list[str]:
    """Say which files of a store are longer than what counts: somebody appends, or was killed while appending.

    That is no damage. The next writer cuts it off.
    """
    if not isinstance(source, Store):
        return []
    files = {source.path / TABLE: len(source.episodes), source.path / SEGMENTS: len(source.segments or ())}
    found = []
    for file, count in files.items():
        if file.is_file() and (more := len(file.read_bytes().splitlines()) - count) > 0:
            found.append(f"{file.name} has {more} lines that do not count: not committed")
    for file, size in source.sizes().items():
        if (more := file.stat().st_size - size) > 0:
            found.append(f"{file.relative_to(source.path)} has {more} bytes that do not count: not committed")
    return found
