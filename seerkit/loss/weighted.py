"""All loss terms of a recipe, each with its weight beside it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn


class WeightedLosses(nn.Module):
    """Evaluate every term on its keys and weigh it, in fp32 whatever precision the policy runs in.

    Args:
        terms: name -> loss bound to the keys it reads.
        weights: name -> factor.

    Shape:
        returns: a TensorDict of scalars ``loss_<name>``; their sum is what training minimises.

    Raises:
        ValueError: if terms and weights do not name the same things.
    """

    def __init__(self, *, terms: Mapping[str, TensorDictModule], weights: Mapping[str, float]) -> None:
        super().__init__()
        if terms.keys() != weights.keys():
            raise ValueError(f"expected one weight per loss term {sorted(terms)}, got {sorted(weights)}")
        self.terms, self.weights = nn.ModuleDict(terms), dict(weights)

    def forward(self, td: TensorDictBase) -> TensorDict:
        values = {}
        for name, term in self.terms.items():
            inputs = [_full(td[key]) for key in term.in_keys]  # pyright: ignore
            with torch.autocast(inputs[0].device.type, enabled=False):
                value = term.module(*inputs)  # pyright: ignore
            values[f"loss_{name}"] = self.weights[name] * value
        return TensorDict(values, batch_size=[])


def _full(value: Tensor) -> Tensor:
    """Widen half precision to fp32; leave everything else as it is."""
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value
