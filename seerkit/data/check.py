"""Look through recorded episodes for damage."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator

import torch

from seerkit import keys
from seerkit.data.convert import Progress
from seerkit.data.jpeg import JpegRows
from seerkit.data.source import Source
from seerkit.data.store import Store
from seerkit.data.writer import check_arrays


@dataclasses.dataclass(frozen=True)
class Finding:
    """Name something wrong.

    Args:
        episode: in which episode.
        array: in which array, such as ``observation/image/primary``; empty if in several.
        text: what is wrong.
    """

    episode: int
    array: str
    text: str


def check(source: Source, *, progress: Progress | None = None) -> Iterator[Finding]:
    """Read every step of a source and yield what is wrong with it.

    Arrays must be readable, of their shape and type, and finite; a store's must have their checksums.

    Args:
        source: what to read.
        progress: is told episodes read and episodes in all.
    """
    sums = isinstance(source, Store)
    for index, episode in enumerate(source.episodes):
        try:
            arrays = source.episode(index)
            check_arrays(source.conventions, arrays, episode.length)
        except (RuntimeError, OSError, ValueError) as error:
            yield Finding(index, "", str(error))
        else:
            if sums and episode.checksums:
                yield from _sums(source, index, arrays)
        if progress is not None:
            progress(index + 1, len(source.episodes))


def _sums(store: Store, index: int, arrays: dict[tuple[str, ...], torch.Tensor]) -> Iterator[Finding]:
    episode = store.episodes[index]
    for key, array in arrays.items():
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
