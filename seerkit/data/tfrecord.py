"""TFRecord files without TensorFlow: where records begin, and whether their bytes are what was written."""

from __future__ import annotations

import functools
import mmap
import struct
from pathlib import Path

import numpy as np

from seerkit.data.source import StoreError

POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), bits reversed."""
HEADER, FOOTER = 12, 4
"""Bytes before a record (its length and the length's checksum) and after it (its checksum)."""
BLOCK_BITS = 22
"""Checksums are computed in blocks of at most 2 ** 22 bytes, so that memory stays bounded."""


class Shard:
    """Hold one TFRecord file: records are found by hopping from length to length; their bytes stay on disk.

    Args:
        path: the file.

    Attributes:
        records: first byte and number of bytes of every record.

    Raises:
        StoreError: the file is cut short, or a length is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[tuple[int, int]] = []
        with path.open("rb") as file:
            size, at = file.seek(0, 2), 0
            while at < size:
                file.seek(at)
                length = self._length(file.read(HEADER), at)
                if (end := at + HEADER + length + FOOTER) > size:
                    raise StoreError(f"{path}: {self._name()} must end at byte {end}, the file ends at {size}")
                self.records.append((at + HEADER, length))
                at = end

    def map(self) -> memoryview:
        """Map the file into memory, read-only."""
        with self.path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def check(self, content: memoryview, record: int) -> None:
        """Compare a record's bytes with their checksum.

        Args:
            content: the file's bytes, see `map`.
            record: which record.

        Raises:
            StoreError: they differ.
        """
        start, length = self.records[record]
        (recorded,) = struct.unpack_from("<I", content, start + length)
        if (given := masked(crc32c(content[start : start + length]))) != recorded:
            raise StoreError(f"{self.path}: record {record}: checksum {given:08x}, recorded {recorded:08x}: damaged")

    def _length(self, header: bytes, at: int) -> int:
        if len(header) < HEADER:
            raise StoreError(
                f"{self.path}: {self._name()} must have a header of {HEADER} bytes at byte {at}, got {len(header)}"
            )
        length, recorded = struct.unpack("<QI", header)
        if masked(crc32c(header[:8])) != recorded:
            raise StoreError(f"{self.path}: {self._name()} at byte {at}: its length is damaged; is it a TFRecord file?")
        return length

    def _name(self) -> str:
        return f"record {len(self.records)}"


def masked(crc: int) -> int:
    """Return a checksum as TFRecord stores it: rotated and shifted by a constant, for files that hold checksums."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes | memoryview) -> int:
    """Return the CRC-32C of some bytes, 50 to 200 MB of them per second.

    A CRC is linear over XOR, and zeros in front of the bytes leave an empty register empty. So the bytes are laid out
    in equal rows that are run through the register side by side, and neighbours are joined by "what do as many zero
    bytes make of the left one".
    """
    state = 0xFFFFFFFF
    octets = np.frombuffer(content, np.uint8)
    for start in range(0, len(octets), 1 << BLOCK_BITS):
        block = octets[start : start + (1 << BLOCK_BITS)]
        state = _after_zeros(state, len(block)) ^ _register(block)
    return state ^ 0xFFFFFFFF


def _register(block: np.ndarray) -> int:
    """Run bytes through an empty register."""
    bits = max(len(block) - 1, 1).bit_length()
    across = bits // 2
    rows = np.zeros(1 << bits, np.uint8)
    rows[len(rows) - len(block) :] = block
    columns = np.ascontiguousarray(rows.reshape(1 << (bits - across), 1 << across).T)
    table, state = _table(), np.zeros(columns.shape[1], np.uint32)
    for column in columns:
        state = table[(state ^ column) & 0xFF] ^ state >> np.uint32(8)
    for bit in range(across, bits):
        state = _times(_zeros()[bit], state[::2]) ^ state[1::2]
    return int(state[0])


def _after_zeros(state: int, count: int) -> int:
    """Return what ``count`` zero bytes make of a register."""
    register = np.array([state], np.uint32)
    for bit in range(count.bit_length()):
        if count >> bit & 1:
            register = _times(_zeros()[bit], register)
    return int(register[0])


def _times(matrix: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Multiply a matrix over two elements, given as 32 columns, by each of some vectors of 32 bits."""
    product = np.zeros_like(states)
    for bit in range(32):
        product ^= matrix[bit] * (states >> np.uint32(bit) & np.uint32(1))
    return product


@functools.cache
def _table() -> np.ndarray:
    """Return what each value of one byte makes of an empty register."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


@functools.cache
def _zeros() -> list[np.ndarray]:
    """Return the matrices of ``2 ** 0 .. 2 ** BLOCK_BITS`` zero bytes."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    matrices = [_table()[bits & 0xFF] ^ bits >> np.uint32(8)]
    for _ in range(BLOCK_BITS):
        matrices.append(_times(matrices[-1], matrices[-1]))
    return matrices
