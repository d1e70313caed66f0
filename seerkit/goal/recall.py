"""Remember what a frozen tower made of a sentence."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import chain

import torch
from torch import Tensor, nn

LIMIT = 4096
"""Sentences remembered at most; the one not asked for longest goes first. 8 MB of CLIP's features."""


class Recall:
    """Encode each distinct row of token ids once in a lifetime, as long as the tower stays what it is.

    Sentences are looked up on the CPU; ids that come from there make nobody wait for an accelerator. Each is encoded by
    itself and in fp32, so that its feature does not depend on which batch first held it or on autocast. Change, move or
    exchange the tower's tensors and all is forgotten.

    Args:
        limit: how many rows are remembered.
    """

    def __init__(self, *, limit: int = LIMIT) -> None:
        self.limit = limit
        self._features: dict[bytes, Tensor] = {}
        self._stamp: Hashable = None

    def __call__(self, tower: nn.Module, tokens: Tensor, *, device: torch.device) -> Tensor:
        """Return the tower's features of every row.

        Args:
            tower: frozen: token ids ``(U, L)`` -> features ``(U, E)``.
            tokens: int64 ``(B, L)``, best on the CPU.
            device: where the tower is.

        Shape:
            returns: ``(B, E)``.
        """
        stamp = _stamp(tower)
        if stamp != self._stamp:
            self._features.clear()
            self._stamp = stamp
        found = [self._feature(tower, row, device) for row in tokens.cpu()]
        while len(self._features) > self.limit:
            del self._features[next(iter(self._features))]
        return torch.stack(found)

    def _feature(self, tower: nn.Module, row: Tensor, device: torch.device) -> Tensor:
        key = row.numpy().tobytes()
        feature = self._features.pop(key, None)
        if feature is None:
            # what is remembered while acting may be wanted for training, where inference tensors are refused
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
                feature = tower(row.clone()[None].to(device))[0]
        self._features[key] = feature  # the last in order is the one asked for last
        return feature


def is_fixed(module: nn.Module) -> bool:
    """Say whether a module has nothing to learn and nothing random: no gradient, nowhere in training mode."""
    return not any(p.requires_grad for p in module.parameters()) and not any(m.training for m in module.modules())


def _stamp(module: nn.Module) -> Hashable:
    """Return what differs as soon as a tensor of the module is written to, moved or exchanged."""
    tensors = chain(module.parameters(), module.buffers())
    return tuple((id(t), None if t.is_inference() else t._version, t.device, t.dtype) for t in tensors)
