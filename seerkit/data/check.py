"""Look through recorded episodes for damage."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator

import numpy as np
import torch

from seerkit import keys
from seerkit.data.convert import Progress
from seerkit.data.jpeg import JpegRows
from seerkit.data.source import Source
from seerkit.data.store import SEGMENTS, TABLE, Store, array_file, read_meta
from seerkit.data.writer import check_arrays


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
    for index, episode in enumerate(source.episodes):
        try:
            arrays = source.episode(index)
            check_arrays(source.conventions, arrays, episode.length)
        except (RuntimeError, OSError, ValueError) as error:
            yield Finding(index, "", str(error))
        else:
            if isinstance(source, Store) and episode.checksums:
                yield from _sums(source, index, arrays)
        if progress is not None:
            progress(index + 1, len(source.episodes))


def _sums(store: Store, index: int, arrays: dict[tuple[str, ...], torch.Tensor]) -> Iterator[Finding]:
    episode = store.episodes[index]
    begins = np.fromfile(array_file(store.path, (keys.IS_INIT,)), np.uint8, episode.length, offset=episode.start)
    for key, array in {**arrays, (keys.IS_INIT,): torch.from_numpy(begins)}.items():
        name, total = "/".join(key), 0
        frames = store.frames.get(key[-1]) if key[:-1] == keys.IMAGE else None
        if isinstance(frames, JpegRows):
            for row in range(episode.start, episode.end):
                total = zlib.crc32(frames.blob(row), total)
        else:
            total = zlib.crc32(array.contiguous().numpy().data)
        if name not in episode.checksums:
            yield Finding(index, name, "no checksum was recorded")
        elif total != episode.checksums[name]:
            yield Finding(index, name, f"checksum {total:08x}, recorded {episode.checksums[name]:08x}: damaged")


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
