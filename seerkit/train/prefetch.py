"""Gather the next batches in a background thread while the policy trains on this one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType

import torch
from tensordict import TensorDict

from seerkit.data.mixture import Mixture
from seerkit.data.sampler import Sampler
from seerkit.data.windows import Windows


class Prefetch:
    """Iterate over batches ``first .. last - 1`` of a sampler, gathered ahead of time.

    Copying uint8 frames out of a memory map takes a fraction of a millisecond per window and does not hold Python's
    lock, so one thread is enough; worker processes would only add a copy.

    Args:
        windows: where the batches are cut from.
        sampler: which windows belong to which batch.
        first: number of the first batch.
        last: where to stop.
        device: where the batches go; pinned memory is used on the way to an accelerator.
        depth: how many batches may wait.
    """

    def __init__(
        self,
        windows: Windows | Mixture,
        sampler: Sampler,
        *,
        first: int,
        last: int,
        device: torch.device,
        depth: int = 3,
    ) -> None:
        self._windows, self._sampler, self._device = windows, sampler, device
        self._range = range(first, last)
        self._ready: queue.Queue[TensorDict | BaseException | None] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="seerkit-prefetch", daemon=True)

    def __enter__(self) -> Prefetch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[TensorDict]:
        while (batch := self._ready.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch if self._device.type == "cpu" else batch.to(self._device, non_blocking=True)

    def _work(self) -> None:
        try:
            for step in self._range:
                batch = self._windows.gather(self._sampler.indices(step))
                if self._device.type == "cuda":
                    batch = batch.pin_memory(num_threads=0)
                if not self._put(batch):
                    return
            self._put(None)
        except BaseException as error:  # handed to the reader, who raises it
            self._put(error)

    def _put(self, item: TensorDict | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
