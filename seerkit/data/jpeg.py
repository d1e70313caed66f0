"""Frames as JPEG: an eighth of the disk, eleven times slower to read than raw ones, and no longer exact."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from seerkit.data.rows import Recent
from seerkit.data.source import StoreError

QUALITY = 95
PICTURES = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What pictures may be. Pillow knows more; for some it starts other programs."""
UNREADABLE = (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises where a picture is damaged, or larger than any camera's."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Hold frames that are compressed already, so that copying them loses nothing more.

    Args:
        blobs: one per frame.
        shape: ``(L, 3, H, W)`` of the frames.
    """

    blobs: Sequence[bytes]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.blobs)


class BlobError(StoreError):
    """A frame that cannot be decoded, or has another size than its neighbours."""


def encode(frame: Tensor) -> bytes:
    """Compress a frame: quality 95, every colour sample kept (4:4:4).

    Shape:
        frame: uint8 ``(3, H, W)``.
    """
    buffer = io.BytesIO()
    picture = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def decode(blob: bytes, *, where: str) -> Tensor:
    """Decompress a picture of one of the formats `PICTURES`.

    Args:
        blob: the file's content.
        where: what it is, for the error.

    Shape:
        returns: uint8 ``(3, H, W)``.

    Raises:
        BlobError: the picture is damaged, or claims a size no camera has.
    """
    try:
        with Image.open(io.BytesIO(blob), formats=PICTURES) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except UNREADABLE as error:
        raise BlobError(f"{where}: the picture cannot be decoded ({len(blob)} bytes): {error}") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


class JpegRows:
    """Frames that are decoded as they are read.

    Args:
        file: all blobs, one after another.
        ends: int64 ``(N,)``, where each blob ends.
        shape: ``(3, H, W)`` of every frame.
    """

    def __init__(self, file: Path, ends: Tensor, *, shape: Sequence[int]) -> None:
        self._file, self._ends, self._shape = file, ends, tuple(shape)
        self._blobs = np.memmap(file, mode="r") if len(ends) else np.empty(0, np.uint8)
        self._decoded = Recent(self._read, size=64)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, ...)``."""
        return (len(self._ends), *self._shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return torch.uint8

    @property
    def end(self) -> int:
        """Where the last picture ends in the file."""
        return int(self._ends[-1])

    def blob(self, row: int) -> bytes:
        """Return one frame as it is stored."""
        start = int(self._ends[row - 1]) if row else 0
        return self._blobs[start : int(self._ends[row])].tobytes()

    def encoded(self, rows: Tensor) -> Encoded:
        """Return some frames as they are stored.

        Shape:
            rows: int64 ``(L,)``.
        """
        return Encoded([self.blob(row) for row in rows.tolist()], (len(rows), *self._shape))

    def take(self, rows: Tensor) -> Tensor:
        """Decode some frames, each once."""
        distinct, place = rows.flatten().unique(return_inverse=True)
        frames = [self._decoded(row) for row in distinct.tolist()]
        return torch.stack(frames)[place].view(*rows.shape, *self._shape)

    def _read(self, row: int) -> Tensor:
        frame = decode(self.blob(row), where=f"{self._file} frame {row}")
        if tuple(frame.shape) != self._shape:
            raise BlobError(f"{self._file} frame {row} must be {self._shape}, it is {tuple(frame.shape)}")
        return frame
