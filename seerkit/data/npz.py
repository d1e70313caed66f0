"""Read numpy's files without running a line of what they may bring along."""

from __future__ import annotations

import io
import pickle
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seerkit.data.source import StoreError

DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError),
    *(MemoryError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile, pickle.UnpicklingError),
)
"""What reading bytes that are not what they say can end in."""

LARGEST = 1 << 28
"""Bytes of one step's array, at most; a few kilobytes of a zip file can claim any number."""

PLAIN = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *(("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")),
}
"""What a pickle of dictionaries, lists, numbers, text and arrays refers to."""

HEADERS = threading.Lock()
"""Numpy reads an array's header with `ast`, which CPython 3.11 cannot do in two threads at once (its issue 106905)."""


def read_npz(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read some arrays of an ``.npz`` file; the others are not decompressed.

    Each is decompressed in one call, during which other threads run (`numpy.load` goes in pieces of 4 kB).

    Raises:
        StoreError: the file is missing, damaged, or has no such array; the text names file and array.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in names:
                arrays[name] = _entry(archive, file, name)
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{file} is missing") from error
    except DAMAGE as error:
        raise StoreError(f"{file} is not a whole .npz file: {error}") from error
    return arrays


def check_size(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    """Make sure that an array of an ``.npz`` file is not larger than one step's can be; zipfile reads no more.

    Raises:
        StoreError: it is.
        KeyError: there is no such array.
    """
    if (size := archive.getinfo(f"{name}.npy").file_size) > LARGEST:
        raise StoreError(f"{file}: {name} must have at most {LARGEST} bytes, it claims {size}")


def _entry(archive: zipfile.ZipFile, file: Path, name: str) -> np.ndarray:
    try:
        check_size(archive, file, name)
        content = archive.read(f"{name}.npy")
    except StoreError:
        raise
    except KeyError as error:
        there = sorted(entry.removesuffix(".npy") for entry in archive.namelist())
        raise StoreError(f"{file}: {name} is missing; it has {there}") from error
    except DAMAGE as error:
        raise StoreError(f"{file}: {name} is damaged: {error}") from error
    return _array(content, f"{file}: {name}")


def read_npy(file: Path) -> np.ndarray:
    """Read an ``.npy`` file of plain numbers.

    Raises:
        StoreError: the file is missing, damaged, or holds Python objects.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}") from error
    return _array(content, str(file))


def _array(content: bytes, where: str) -> np.ndarray:
    try:
        with HEADERS:
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except DAMAGE as error:
        raise StoreError(f"{where} is not a whole array of numbers: {error}") from error


def read_object(file: Path) -> Any:  # noqa: ANN401
    """Read an ``.npy`` file that holds one Python object: dictionaries, lists, numbers, text and arrays.

    `numpy.load` would run whatever code the pickle inside names; here anything but `PLAIN` is refused.

    Raises:
        StoreError: the file is missing, damaged, or needs code to be read.
    """
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(stream)
            if shape != () or not dtype.hasobject:
                raise StoreError(f"{file} must hold one object, it holds an array {shape} of {dtype}")
            return np.asarray(_Plain(stream).load(), dtype=object).item()
    except StoreError as error:
        raise StoreError(f"{file}: {error}" if str(file) not in str(error) else str(error)) from error
    except FileNotFoundError as error:
        raise StoreError(f"{file} is missing") from error
    except DAMAGE as error:
        raise StoreError(f"{file} is damaged: {error}") from error


class _Plain(pickle.Unpickler):
    """Know arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) not in PLAIN:
            raise StoreError(f"needs {module}.{name} to be read, which could do anything to this machine; not run")
        return super().find_class(module, name)
