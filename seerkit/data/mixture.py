"""Draw windows from several data sets, each with its own share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor

from seerkit import keys
from seerkit.data.conventions import ConventionError
from seerkit.data.windows import Windows


class Mixture:
    """Join the windows of several data sets; what a number means never changes, and no window is left out.

    An epoch draws ``n_i`` windows from part ``i``, in proportion to the weights, where the part that is too large for
    its weight is seen once and the others as often as that asks for: some of their windows once more than others, and
    these are spread evenly over the part. Without weights, every window is seen once.

    Args:
        parts: cut alike (history, chunk, future, cameras), from data of equal conventions.
        weights: share of each part among the windows drawn; in proportion to their sizes if not given.

    Raises:
        ConventionError: two parts mean different things by their numbers; both sides are printed.
        ValueError: there is no part, a weight is missing or not positive, or two parts are cut differently.
    """

    def __init__(self, parts: Sequence[Windows], weights: Sequence[float] | None = None) -> None:
        if not parts:
            raise ValueError("a mixture needs at least one part, got none")
        sizes = [len(part) for part in parts]
        self.parts, self.weights = list(parts), [float(weight) for weight in (sizes if weights is None else weights)]
        if len(self.weights) != len(parts) or not all(0 < weight < math.inf for weight in self.weights):
            raise ValueError(f"weights must be {len(parts)} numbers above 0, got {weights}")
        for part in self.parts[1:]:
            _check_alike(self.parts[0], part)
        scale = max(size / weight for size, weight in zip(sizes, self.weights, strict=True))
        self.drawn = [max(size, round(scale * weight)) for size, weight in zip(sizes, self.weights, strict=True)]
        self._until = torch.tensor(self.drawn).cumsum(0)

    @property
    def ahead(self) -> int:
        """How many steps ahead a frame is foreseen."""
        return self.parts[0].ahead

    @property
    def episodes(self) -> list[object]:
        """The episodes or spans of all parts."""
        return [episode for part in self.parts for episode in part.episodes]

    def __len__(self) -> int:
        return int(self._until[-1])

    def gather(self, index: Tensor) -> TensorDict:
        """Copy a batch of windows, as `Windows.gather`, in the order asked for.

        Raises:
            IndexError: a number is out of range.
        """
        place, number = self._find(index)
        rows = [(place == part).nonzero().flatten() for part in range(len(self.parts))]
        given = [(rows[i], part.gather(number[rows[i]])) for i, part in enumerate(self.parts) if len(rows[i])]
        return _joined(given, len(index))

    def in_next_episode(self, index: Tensor) -> Tensor:
        """Return for each window one of the episode after its own, part by part, round and round."""
        place, number = self._find(index)
        following = torch.empty_like(number)
        for i, part in enumerate(self.parts):
            rows = place == i
            following[rows] = part.in_next_episode(number[rows])
        place = torch.where(following == 0, (place + 1) % len(self.parts), place)
        sizes, drawn = torch.tensor([len(part) for part in self.parts]), torch.tensor(self.drawn)
        first = -(-following * drawn[place] // sizes[place])
        return self._until[place] - drawn[place] + first

    def _find(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return each window's part, and its number there."""
        if bool(((index < 0) | (index >= len(self))).any()):
            raise IndexError(f"window numbers must be in 0 .. {len(self) - 1}, got {index.tolist()}")
        place = torch.searchsorted(self._until, index, right=True)
        sizes, drawn = torch.tensor([len(part) for part in self.parts]), torch.tensor(self.drawn)
        return place, (index - self._until[place] + drawn[place]) * sizes[place] // drawn[place]


def _check_alike(first: Windows, other: Windows) -> None:
    """Make sure that batches of two parts can be joined, and that their numbers mean the same."""
    cuts = [(part.steps, part.chunk, part.ahead, part.cameras, part.goal, part.depth) for part in (first, other)]
    if cuts[0] != cuts[1]:
        raise ValueError(f"the parts of a mixture must be cut alike, got {cuts[0]} and {cuts[1]}")
    means = [
        dataclasses.replace(
            part.store.conventions,
            cameras={name: part.store.conventions.cameras[name] for name in part.cameras},
            depth=part.depth,
        )
        for part in (first, other)
    ]
    lines = [
        f"  {field.name}: {getattr(means[0], field.name)!r} and {getattr(means[1], field.name)!r}"
        for field in dataclasses.fields(means[0])
        if getattr(means[0], field.name) != getattr(means[1], field.name)
    ]
    if lines:
        raise ConventionError(
            f"{first.store.path} and {other.store.path} cannot be mixed, they differ in\n" + "\n".join(lines)
        )


def _joined(given: Sequence[tuple[Tensor, TensorDict]], size: int) -> TensorDict:
    """Put rows of several batches back into one."""
    if len(given) == 1:
        return given[0][1]
    batch = TensorDict(batch_size=[size])
    names = {key for _, part in given for key in part.keys(include_nested=True, leaves_only=True)} - {keys.INSTRUCTION}
    for key in sorted(names, key=str):
        like = next(part[key] for _, part in given if key in part.keys(include_nested=True))
        whole = torch.zeros(size, *like.shape[1:], dtype=like.dtype)  # a part without short episodes has no STEP_IS_PAD
        for rows, part in given:
            if (value := part.get(key)) is not None:
                whole[rows] = value
        batch[key] = whole
    sentences = [""] * size
    for rows, part in given:
        for row, sentence in zip(rows.tolist(), part.get(keys.INSTRUCTION).tolist(), strict=True):
            sentences[row] = sentence
    batch[keys.INSTRUCTION] = NonTensorStack.from_list(sentences)
    return batch
