"""Small files that hold what was recorded in one step: ``other.npz`` or ``other.h5``."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from seerkit.data.npz import check_size
from seerkit.data.source import StoreError

SENTENCE = "language_instruction"


class StepFile:
    """Read checked fields of an open file; nothing in it is ever executed.

    Args:
        path: the file; ``.npz``, or HDF5.

    Raises:
        StoreError: on entering, if the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        self._fields: Any = None

    def __enter__(self) -> StepFile:
        with self._named():
            if self.path.suffix == ".npz":
                self._fields = self._stack.enter_context(np.load(self.path, allow_pickle=False))
            else:
                import h5py

                self._fields = self._stack.enter_context(h5py.File(self.path, "r", locking="best-effort"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __contains__(self, name: str) -> bool:
        with self._named():
            return name in self._fields

    def numbers(self, name: str, count: int) -> np.ndarray:
        """Return a field of so many finite numbers.

        Shape:
            returns: float64 ``(count,)``.

        Raises:
            StoreError: it is missing, something else, or damaged.
        """
        array = self._read(name)
        if array.dtype.kind not in "fiu" or array.size != count or array.ndim > 1:
            given = f"shape {array.shape} {array.dtype}"
            raise StoreError(f"{self.path}: {name} must be {count} number{'s' * (count > 1)}, got {given}")
        numbers = array.astype(np.float64).reshape(count)
        if not np.isfinite(numbers).all():
            raise StoreError(f"{self.path}: {name} must be finite, got {numbers.tolist()}")
        return numbers

    def sentence(self) -> str:
        """Return the instruction, however it was stored: text, UTF-8 bytes, an array of one of either.

        Raises:
            StoreError: there is none.
        """
        value = self._read(SENTENCE)
        if value.size != 1:
            raise StoreError(f"{self.path}: {SENTENCE} must be one sentence, got shape {value.shape}")
        text = value.reshape(()).item()
        try:
            text = text.decode() if isinstance(text, bytes) else text
        except UnicodeDecodeError as error:
            raise StoreError(f"{self.path}: {SENTENCE} must be UTF-8: {error}") from error
        if not isinstance(text, str):
            raise StoreError(f"{self.path}: {SENTENCE} must be text, got {text!r}")
        return text.rstrip("\0")

    def names(self) -> list[str]:
        """List the fields."""
        with self._named():
            inside = self._fields.get("observation", ()) if self.path.suffix != ".npz" else ()
            return sorted([*self._fields, *(f"observation/{name}" for name in inside)])

    def _read(self, name: str) -> np.ndarray:
        if name not in self:
            raise StoreError(f"{self.path} lacks {name}; it has {self.names()}")
        with self._named(name):
            if self.path.suffix == ".npz":
                check_size(self._fields.zip, self.path, name)
            value = self._fields[name]
            return np.asarray(value if isinstance(value, np.ndarray) else value[()])

    @contextlib.contextmanager
    def _named(self, name: str = "") -> Iterator[None]:
        """Turn what libraries say about damage into an error that names the file."""
        try:
            yield
        except StoreError:
            raise
        except FileNotFoundError as error:
            raise StoreError(f"{self.path} is missing") from error
        except (
            OSError,
            RuntimeError,
            KeyError,
            ValueError,
            TypeError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            what = f"{name} cannot be read" if name else "cannot be read, it may be truncated"
            raise StoreError(f"{self.path}: {what}: {error}") from error
