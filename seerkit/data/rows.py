"""Arrays of which single rows are read: in memory, in a memory map, or in files that are opened as they are needed."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

K = TypeVar("K")
V = TypeVar("V")


@runtime_checkable
class Rows(Protocol):
    """What training reads from: something with rows that can be taken by number. A tensor is not one, see `take`.

    Attributes:
        shape: ``(N, ...)``.
        dtype: of its rows.
    """

    @property
    def shape(self) -> Sequence[int]:
        """``(N, ...)``."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        ...

    def take(self, rows: Tensor) -> Tensor:
        """Return a copy of some rows.

        Shape:
            rows: int64 of any shape, each in ``0 .. N - 1``.
            returns: ``(*rows.shape, ...)``.
        """
        ...


def take(array: Tensor | Rows, rows: Tensor) -> Tensor:
    """Copy rows of a tensor or of `Rows`, in the calling thread (torch would start threads, in the way of training's).

    Shape:
        rows: int64 of any shape.
        returns: ``(*rows.shape, ...)``.
    """
    if not isinstance(array, Tensor):
        return array.take(rows)
    picked = torch.empty(*rows.shape, *array.shape[1:], dtype=array.dtype)
    np.take(array.numpy(), rows.numpy(), axis=0, out=picked.numpy(), mode="clip")
    return picked


class Picked:
    """Some rows of an array, in a given order, without copying any.

    Args:
        array: what to pick from.
        rows: int64 ``(M,)``, which rows.
    """

    def __init__(self, array: Tensor | Rows, rows: Tensor) -> None:
        self._array, self._rows = array, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, ...)``."""
        return (len(self._rows), *self._array.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return self._array.dtype

    def take(self, rows: Tensor) -> Tensor:
        """Return a copy of some rows."""
        return take(self._array, self._rows[rows])


class ReadRows:
    """Rows that are read one by one, each row at most once per call.

    Args:
        read: returns one row, given its number.
        shape: ``(N, ...)``.
        dtype: of the rows; ``read`` must return it.
        threads: how many rows are read at the same time; more than 1 helps if ``read`` waits or decompresses.
    """

    def __init__(
        self, read: Callable[[int], Tensor], *, shape: Sequence[int], dtype: torch.dtype, threads: int = 1
    ) -> None:
        self._read, self._shape, self._dtype, self._threads = read, tuple(shape), dtype, threads

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, ...)``."""
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return self._dtype

    def take(self, rows: Tensor) -> Tensor:
        """Return a copy of some rows."""
        distinct, place = rows.flatten().unique(return_inverse=True)
        read = torch.empty(len(distinct), *self._shape[1:], dtype=self._dtype)
        given = read.numpy()

        def fill(index: int, row: int) -> None:
            given[index] = self._read(row).numpy()

        if self._threads > 1 and len(distinct) > 1:
            with ThreadPoolExecutor(min(self._threads, len(distinct))) as pool:
                collections.deque(pool.map(fill, range(len(distinct)), distinct.tolist()), maxlen=0)
        else:
            for index, row in enumerate(distinct.tolist()):
                fill(index, row)
        return take(read, place).view(*rows.shape, *self._shape[1:])


class Recent(Generic[K, V]):
    """Remember the newest few results of a function of one argument, per object and not per program.

    Several threads may call it; they do not wait for each other's results.

    Args:
        make: the function.
        size: how many results to keep.
    """

    def __init__(self, make: Callable[[K], V], *, size: int) -> None:
        self._make, self._size = make, size
        self._kept: collections.OrderedDict[K, V] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: K) -> V:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = self._make(key)
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make, "_size": self._size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_make"], size=state["_size"])
