"""``tf.train.Example`` without TensorFlow: a protocol-buffer message of named lists of bytes, floats or integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seerkit.data.source import StoreError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
KINDS = {1: "bytes", 2: "float", 3: "int64"}
"""Which list a ``Feature`` holds, by the number of its field."""


class Example:
    """Find the features of one serialised example; their values stay where they are until they are asked for.

    Args:
        content: the message.
        where: file and record, for errors.

    Raises:
        StoreError: the bytes are not such a message.
    """

    def __init__(self, content: memoryview, *, where: str) -> None:
        self._content, self._where = content, where
        self._features: dict[str, tuple[str, int, int]] = {}
        try:
            for number, start, end in _parts(content, 0, len(content)):
                if number == 1:
                    for _, first, last in _parts(content, start, end):
                        self._note(first, last)
        except (IndexError, ValueError, KeyError) as error:
            raise StoreError(f"{where}: not a tf.train.Example: {error}") from error

    @property
    def names(self) -> list[str]:
        """The features it has, sorted."""
        return sorted(self._features)

    def floats(self, name: str) -> np.ndarray:
        """Return a feature as float32 ``(n,)``.

        Raises:
            StoreError: it is missing or of another type; so for the other two.
        """
        start, end = self._find(name, "float")
        if start == end:
            return np.zeros(0, np.float32)
        runs = [self._content[first:last] for _, first, last in self._values(name, start, end)]
        if any(len(run) % 4 for run in runs):
            raise StoreError(f"{self._where}: {name} must be floats of 4 bytes each")
        return np.concatenate([np.frombuffer(run, "<f4") for run in runs])

    def ints(self, name: str) -> np.ndarray:
        """Return a feature as int64 ``(n,)``."""
        start, end = self._find(name, "int64")
        runs = [_varints(self._content[first:last]) for _, first, last in self._values(name, start, end)]
        return np.concatenate(runs) if runs else np.zeros(0, np.int64)

    def blobs(self, name: str) -> list[memoryview]:
        """Return a feature as a list of bytes; nothing is copied."""
        start, end = self._find(name, "bytes")
        return [self._content[first:last] for _, first, last in self._values(name, start, end)]

    def texts(self, name: str) -> list[str]:
        """Return a feature as a list of texts."""
        try:
            return [bytes(blob).decode() for blob in self.blobs(name)]
        except UnicodeDecodeError as error:
            raise StoreError(f"{self._where}: {name} must be UTF-8: {error}") from error

    def _note(self, start: int, end: int) -> None:
        """Remember one entry of the map: its key is field 1, its feature field 2."""
        entry = {number: (first, last) for number, first, last in _parts(self._content, start, end)}
        name = bytes(self._content[slice(*entry[1])]).decode()
        lists = list(_parts(self._content, *entry[2])) if 2 in entry else []
        if lists:
            number, first, last = lists[-1]
            self._features[name] = (KINDS[number], first, last)

    def _find(self, name: str, kind: str) -> tuple[int, int]:
        if name not in self._features:
            raise StoreError(f"{self._where} lacks {name}; it has {', '.join(self.names)}")
        given, start, end = self._features[name]
        if given != kind:
            raise StoreError(f"{self._where}: {name} must be a list of {kind}, it is one of {given}")
        return start, end

    def _values(self, name: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        try:
            yield from _parts(self._content, start, end)
        except (IndexError, ValueError) as error:
            raise StoreError(f"{self._where}: {name} cannot be read: {error}") from error


def _parts(content: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, first byte and byte after the last of every field of a message."""
    at = start
    while at < end:
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        first = at
        if wire == BYTES:
            length, first = _varint(content, at)
            at = first + length
        elif wire == VARINT:
            _, at = _varint(content, at)
        elif wire in (FIXED32, FIXED64):
            at += 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"byte {first} has the unknown wire type {wire}")
        if at > end:
            raise ValueError(f"field {number} at byte {first} must end by byte {end}, it ends at {at}")
        yield number, first, at


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = content[at]
        value |= (octet & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if octet < 0x80:
            return value, at
        if shift > 63:
            raise ValueError(f"byte {at} ends no number")


def _varints(content: memoryview) -> np.ndarray:
    """Decode packed integers, int64 ``(n,)``."""
    octets = np.frombuffer(content, np.uint8)
    if not len(octets):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], octets[:-1] < 0x80]))
    place = np.arange(len(octets)) - np.repeat(starts, np.diff(np.append(starts, len(octets))))
    parts = (octets & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(parts, starts).view(np.int64)
