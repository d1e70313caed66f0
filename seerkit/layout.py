"""Which tokens one control step puts into the trunk, and which of them may look at which."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate

import torch
from torch import Tensor


class Attend(StrEnum):
    """When a token may look at a token of another group (or its own)."""

    NEVER = "never"
    SAME_STEP = "same_step"
    """Only within one control step."""
    CAUSAL = "causal"
    """Within the step, both ways, and every earlier step."""
    TOKEN_CAUSAL = "token_causal"
    """Tokens at the same place or earlier in the flat sequence (the order of GPT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """How one token group looks at another.

    Args:
        when: at which steps the key group is visible.
        ahead: additionally see the key group exactly this many steps *later* (a goal state); ``None`` for no.
        hide: share of the key tokens hidden from each step's queries, drawn anew for every training batch.

    Raises:
        ValueError: if ``ahead`` is below 1 or ``hide`` outside [0, 1].
    """

    when: Attend = Attend.CAUSAL
    ahead: int | None = None
    hide: float = 0.0

    def __post_init__(self) -> None:
        if self.ahead is not None and self.ahead < 1:
            raise ValueError(f"an edge looks ahead by at least 1 step, got ahead={self.ahead}")
        if not 0.0 <= self.hide <= 1.0:
            raise ValueError(f"an edge hides a share in [0, 1] of its tokens, got hide={self.hide}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayout:
    """The tokens of one control step and who may look at whom.

    One sentence to remember: *every token sees the context; nobody sees a query group unless an edge says so.*
    The flat sequence is step by step, and inside a step the context groups in their order, then the query groups.

    Args:
        context: tokens per step of each observed group, in sequence order.
        queries: tokens per step of each learned group, in sequence order.
        default: how every token sees the context where no edge says otherwise.
        edges: ``edges[query][key]`` is how group ``query`` looks at group ``key``.
        interleave: neighbouring groups that the flat sequence goes through share by share, as GR-1 does camera by
            camera: the first share of each, then the second of each. Only `Attend.TOKEN_CAUSAL` asks for the order.
        shares: how many shares each of these groups has; must divide its size.
        untimed: groups whose tokens are not told which step they belong to (GR-1's queries).

    Raises:
        ValueError: for an unknown group in an edge, a group that is both context and query, a size below 1, or groups
            that cannot be interleaved.

    Example:
        >>> layout = TokenLayout(
        ...     context={"state": 1, "image": 2},
        ...     queries={"foresight": 2, "action": 1},
        ...     edges={"action": {"foresight": Edge(when=Attend.SAME_STEP)}},
        ... )
        >>> layout.tokens_per_step, layout.mask(steps=2).shape
        (6, torch.Size([12, 12]))
    """

    context: Mapping[str, int]
    queries: Mapping[str, int] = field(default_factory=dict)
    default: Attend = Attend.CAUSAL
    edges: Mapping[str, Mapping[str, Edge]] = field(default_factory=dict)
    interleave: Collection[str] = ()
    shares: int = 1
    untimed: Collection[str] = ()

    def __post_init__(self) -> None:
        both = sorted(self.context.keys() & self.queries.keys())
        if both:
            raise ValueError(f"a token group is either context or query, but {both} are both")
        for name, size in self.sizes.items():
            if size < 1:
                raise ValueError(f"token group {name!r} needs at least 1 token per step, got {size}")
        for query, row in self.edges.items():
            for name in (query, *row):
                _check_known(name, self.sizes, f"edge {query!r} -> {[*row]}")
        for name in self.untimed:
            _check_known(name, self.sizes, "untimed")
        self._check_interleaved()

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens per step of every group, in sequence order."""
        return {**self.context, **self.queries}

    @property
    def tokens_per_step(self) -> int:
        """Tokens one control step adds to the sequence."""
        return sum(self.sizes.values())

    def slots(self) -> dict[str, slice]:
        """Return where each group stands inside a step."""
        ends = accumulate(self.sizes.values())
        return {name: slice(end - size, end) for (name, size), end in zip(self.sizes.items(), ends, strict=True)}

    def places(self) -> Tensor:
        """Return the place of every token in the flat sequence of one step: int64 ``(tokens_per_step,)``.

        Tokens are numbered group by group, as `slots` says; places differ from that only for interleaved groups.

        Example:
            >>> TokenLayout(context={"image": 4, "summary": 2}, interleave=("image", "summary"), shares=2).places()
            tensor([0, 1, 3, 4, 2, 5])
        """
        places, slots = torch.arange(self.tokens_per_step), self.slots()
        place = min((slots[name].start for name in self.interleave), default=0)
        for share in range(self.shares):
            for name in (name for name in self.sizes if name in self.interleave):
                size = self.sizes[name] // self.shares
                first = slots[name].start + share * size
                places[first : first + size] = torch.arange(place, place + size)
                place += size
        return places

    def edge(self, query: str, key: str) -> Edge:
        """Return how ``query`` looks at ``key``: the declared edge, else the rule every group follows."""
        for name in (query, key):
            _check_known(name, self.sizes, "edge")
        declared = self.edges.get(query, {}).get(key)
        return declared or Edge(when=self.default if key in self.context else Attend.NEVER)

    def mask(self, steps: int) -> Tensor:
        """Return the boolean mask ``(N, N)``, ``True`` = may attend, with ``N = steps * tokens_per_step``."""
        size = self.tokens_per_step
        lag = torch.arange(steps)[:, None] - torch.arange(steps)[None, :]  # > 0: the key is older
        place = torch.arange(steps)[:, None] * size + self.places()
        mask = torch.zeros(steps, size, steps, size, dtype=torch.bool)
        for query, key, edge in self._pairs():
            rows, columns = self.slots()[query], self.slots()[key]
            block = _visible(edge, lag)[:, None, :, None]
            if edge.when is Attend.TOKEN_CAUSAL:
                block = block & (place[:, rows, None, None] >= place[None, None, :, columns])
            if edge.ahead is not None:
                block = block | (lag == -edge.ahead)[:, None, :, None]
            mask[:, rows, :, columns] = block
        return mask.flatten(2).flatten(0, 1)

    def hides(self) -> bool:
        """Tell whether any edge hides tokens during training."""
        return any(edge.hide > 0 for row in self.edges.values() for edge in row.values())

    def hidden(
        self, steps: int, *, generator: torch.Generator | None = None, device: torch.device | None = None
    ) -> Tensor:
        """Draw which allowed pairs are hidden this time: boolean ``(N, N)``, ``True`` = hidden.

        For each step, ``int(hide * size)`` tokens of the key group are closed to that edge's queries.
        """
        size = self.tokens_per_step
        hidden = torch.zeros(steps, size, steps, size, dtype=torch.bool, device=device)
        for query, row in self.edges.items():
            for key, edge in row.items():
                count = int(edge.hide * self.sizes[key])
                if count:
                    drawn = torch.rand(steps, self.sizes[key], generator=generator, device=device)
                    rank = drawn.argsort(1).argsort(1)
                    hidden[:, self.slots()[query], :, self.slots()[key]] |= (rank < count)[None, None]
        return hidden.flatten(2).flatten(0, 1)

    def needed(self, steps: int, *, outputs: Collection[str], at: Collection[int]) -> Tensor:
        """Return which tokens can influence ``outputs`` at the steps ``at``: ascending indices into the flat sequence.

        A token is needed if the mask lets an output token reach it, directly or through others, in any number of
        layers. Everything else may be left out of the sequence without changing those outputs.

        Raises:
            ValueError: for an unknown group or a step outside ``0 .. steps - 1``.
        """
        reached = torch.zeros(steps, self.tokens_per_step, dtype=torch.bool)
        for name in outputs:
            _check_known(name, self.sizes, "outputs")
            for step in at:
                if not 0 <= step < steps:
                    raise ValueError(f"outputs are read at steps 0..{steps - 1}, got {step}")
                reached[step, self.slots()[name]] = True
        mask, reached = self.mask(steps), reached.flatten()
        while True:
            wider = reached | mask[reached].any(dim=0)
            if torch.equal(wider, reached):
                return reached.nonzero().squeeze(1)
            reached = wider

    def _check_interleaved(self) -> None:
        for name in self.interleave:
            _check_known(name, self.sizes, "interleave")
            if self.shares < 1 or self.sizes[name] % self.shares:
                raise ValueError(f"group {name!r} of {self.sizes[name]} tokens has no {self.shares} equal shares")
        order = [*self.sizes]
        at = sorted(order.index(name) for name in self.interleave)
        if at and at != [*range(at[0], at[0] + len(at))]:
            raise ValueError(f"only neighbouring groups can be interleaved, got {[*self.interleave]} of {order}")

    def _pairs(self) -> Iterator[tuple[str, str, Edge]]:
        for query in self.sizes:
            for key in self.sizes:
                yield query, key, self.edge(query, key)


def _visible(edge: Edge, lag: Tensor) -> Tensor:
    if edge.when is Attend.NEVER:
        return torch.zeros_like(lag, dtype=torch.bool)
    return lag == 0 if edge.when is Attend.SAME_STEP else lag >= 0


def _check_known(name: str, known: Collection[str], where: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{where} names unknown token group {name!r}; known: {[*known]}{hint}")
