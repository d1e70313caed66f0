"""Averaged weights: an exponential moving average of the trainable parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Follow a module's trainable parameters with an exponential moving average.

    The decay rises with the number of updates, ``min(decay, (1 + n) / (10 + n))``, so the average forgets the random
    start soon.

    Args:
        module: whose parameters to follow.
        decay: the closer to 1, the longer the memory.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self._live = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self._mean = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Move the average towards the parameters after update number ``done`` (counted from 0)."""
        decay = min(self.decay, (1 + done) / (10 + done))
        get_ema_multi_avg_fn(decay)(list(self._mean.values()), list(self._live.values()), done)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the module, and the trained ones back at the end."""
        trained = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        _copy(self._mean, self._live)
        try:
            yield
        finally:
            _copy(trained, self._live)

    def copy_to_module(self) -> None:
        """Put the averaged weights into the module for good."""
        _copy(self._mean, self._live)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights by parameter name."""
        return dict(self._mean)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over averaged weights.

        Raises:
            ValueError: the names differ from the module's trainable parameters.
        """
        if state.keys() != self._mean.keys():
            raise ValueError(
                f"averaged weights do not fit; only on one side: {sorted(state.keys() ^ self._mean.keys())}"
            )
        _copy(state, self._mean)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
