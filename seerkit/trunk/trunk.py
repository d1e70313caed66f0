"""Tokens of every context group in, hidden states of the learned queries out."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from seerkit.layout import TokenLayout
from seerkit.trunk.block import Block

Start = Literal["gpt2", "gr1", "wide", "bare"]
STARTS: tuple[Start, ...] = ("gpt2", "gr1", "wide", "bare")


SELECTIONS = 128
"""Kinds of passes remembered at most: lengths of history times what is read."""


@dataclass(frozen=True)
class _Selection:
    """What one kind of pass computes and reads, on one device.

    Args:
        keep: int64 ``(N,)``, the tokens that are computed, ascending places in the flat sequence.
        step: int64 ``(N,)``, which step each belongs to.
        mask: bool ``(N, N)``, ``True`` = may attend.
        places: per group read ``(len(at), n)``, where its tokens stand among those computed.
    """

    keep: Tensor
    step: Tensor
    mask: Tensor
    places: tuple[Tensor, ...]


class TokenTrunk(nn.Module):
    """Run a masked transformer over the tokens of all steps and read the learned queries.

    The official Seer's backbone: a learned vector per *step* (not per token) is added to context and queries (but not
    to the layout's ``untimed`` groups), then a LayerNorm, then GPT-2 blocks without position embeddings and without
    GPT-2's own triangular mask; the layout's mask is the only one.

    Tokens that cannot influence what is asked for are never computed (see `TokenLayout.needed`).

    Args:
        layout: token groups and who sees whom.
        dim: width.
        depth: blocks.
        heads: attention heads.
        steps: the longest history.
        dropout: on embeddings, attention weights and residual branches, as GPT-2.
        activation: ``"gelu_new"`` or ``"relu"``.
        start: ``"gpt2"``: weights N(0, 0.02), residual projections scaled by ``1 / sqrt(2 * depth)``, queries 0, as in
            the official Seer. ``"wide"``: weights N(0, 1 / (3 dim)), queries N(0, 0.04), for
            a narrow, shallow trunk that learns from nothing. ``"bare"``: as ``"wide"``, and embeddings are not
            normalised, so that what the first blocks read weighs more against what the queries start with.
            ``"gr1"``: weights N(0, 0.02) without scaled residuals, queries and time N(0, 1), as in the official GR-1.

    Shape:
        context: one ``(B, T, n, dim)`` per context group, in the layout's order, with ``T <= steps``; a group that is
            the same at every step may come as ``(B, 1, n, dim)``.
        returns: one ``(B, len(at), n, dim)`` per group of ``outputs``.

    Raises:
        ValueError: if groups are missing, have another number of tokens than declared, or the history is too long.
    """

    mask: Tensor

    def __init__(
        self,
        *,
        layout: TokenLayout,
        dim: int,
        depth: int,
        heads: int,
        steps: int,
        dropout: float = 0.1,
        activation: Literal["gelu_new", "relu"] = "gelu_new",
        start: Start = "gpt2",
    ) -> None:
        super().__init__()
        if start not in STARTS:
            raise ValueError(f"start is one of {STARTS}, got {start!r}")
        self.layout, self.steps, self.dropout = layout, steps, dropout
        # nn.ParameterDict sorts a plain dict's keys: always iterate over layout.queries, never over self.queries
        self.queries = nn.ParameterDict({name: nn.Parameter(torch.zeros(n, dim)) for name, n in layout.queries.items()})
        self.time = nn.Parameter(torch.randn(steps, 1, dim) * 0.02)
        self.norm = nn.Identity() if start == "bare" else nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(
            Block(dim=dim, heads=heads, dropout=dropout, activation=activation) for _ in range(depth)
        )
        self.final = nn.LayerNorm(dim)
        self.register_buffer("mask", layout.mask(steps), persistent=False)
        self._selections: dict[Hashable, _Selection] = {}
        if start == "gpt2":
            self._initialise(std=0.02, residual=0.02 * (2 * depth) ** -0.5, query=0.0)
        elif start == "gr1":
            self._initialise(std=0.02, residual=0.02, query=1.0)
            nn.init.normal_(self.time)
        else:
            self._initialise(std=(3 * dim) ** -0.5, residual=(3 * dim) ** -0.5, query=0.2)

    def forward(
        self,
        *context: Tensor,
        outputs: Collection[str] | None = None,
        at: Collection[int] | None = None,
        is_pad: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Read the groups ``outputs`` (default: all queries) at the steps ``at`` (default: all).

        Args:
            context: see the class.
            outputs: names of query groups.
            at: steps.
            is_pad: bool ``(B, T)``, ``True`` at steps that are padding: nobody sees their tokens.
        """
        tokens = self.embed(*context)
        steps = tokens.shape[1]
        wanted = tuple(self.layout.queries if outputs is None else outputs)
        chosen = self._select(steps, wanted, tuple(range(steps) if at is None else at))
        x = tokens.flatten(1, 2)
        if len(chosen.keep) < x.shape[1]:
            x = x.index_select(1, chosen.keep)
        x = functional.dropout(x, self.dropout, self.training)
        mask = chosen.mask
        if self.training and self.layout.hides():
            mask = mask & ~self.hidden(steps)[chosen.keep][:, chosen.keep]
        if is_pad is not None:
            mask = _without_padding(mask, is_pad, step=chosen.step)
        for block in self.blocks:
            x = block(x, mask)
        x = self.final(x)
        return tuple(x.index_select(1, place.flatten()).unflatten(1, place.shape) for place in chosen.places)

    def embed(self, *context: Tensor) -> Tensor:
        """Put the tokens of all groups in order, add the step's vector and normalise: ``(B, T, n, dim)``."""
        self._check(context)
        batch, steps = len(context[0]), max(group.shape[1] for group in context)
        queries = [self.queries[name].expand(batch, steps, -1, -1) for name in self.layout.queries]
        groups = [group.expand(-1, steps, -1, -1) for group in context]
        time = self.time[:steps]
        if self.layout.untimed:
            named = zip(self.layout.sizes, [*groups, *queries], strict=True)
            own = [group if name in self.layout.untimed else group + time for name, group in named]
            return self.norm(torch.cat(own, dim=2))
        return self.norm(torch.cat([*groups, *queries], dim=2) + time)

    def _check(self, context: tuple[Tensor, ...]) -> None:
        given = {name: group.shape[2] for name, group in zip(self.layout.context, context, strict=False)}
        if len(context) != len(self.layout.context) or given != dict(self.layout.context):
            raise ValueError(f"expected tokens per step {dict(self.layout.context)}, got {given}")
        steps = {group.shape[1] for group in context}
        if len(steps - {1}) > 1 or max(steps) > self.steps:
            raise ValueError(f"expected one history of at most {self.steps} steps, got {sorted(steps)}")

    def hidden(self, steps: int) -> Tensor:
        """Draw the pairs hidden in this training pass (see `TokenLayout.hidden`)."""
        return self.layout.hidden(steps, device=self.mask.device)

    def _select(self, steps: int, outputs: tuple[str, ...], at: tuple[int, ...]) -> _Selection:
        """Return what a pass computes and reads; worked out once, so that nothing is sent to an accelerator again."""
        version = None if self.mask.is_inference() else self.mask._version
        key = (steps, outputs, at, self.mask.device, version)
        if key not in self._selections:
            if len(self._selections) >= SELECTIONS:
                self._selections.clear()
            with torch.inference_mode(False):  # what acting worked out may serve training, which refuses such tensors
                self._selections[key] = self._selection(steps, outputs, at)
        return self._selections[key]

    def _selection(self, steps: int, outputs: tuple[str, ...], at: tuple[int, ...]) -> _Selection:
        size, slots, device = self.layout.tokens_per_step, self.layout.slots(), self.mask.device
        keep = self.layout.needed(steps, outputs=outputs, at=at)
        first = torch.tensor(at)[:, None] * size
        places = [torch.searchsorted(keep, first + torch.arange(size)[slots[name]]).to(device) for name in outputs]
        step, keep = (keep // size).to(device), keep.to(device)
        return _Selection(keep=keep, step=step, mask=self.mask[keep][:, keep], places=tuple(places))

    def _initialise(self, *, std: float, residual: float, query: float) -> None:
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                nn.init.normal_(parameter, std=residual if name.endswith(("out.weight", "narrow.weight")) else std)
        for name in self.layout.queries:
            nn.init.normal_(self.queries[name], std=query)


def _without_padding(mask: Tensor, is_pad: Tensor, *, step: Tensor) -> Tensor:
    """Hide the tokens of padded steps: ``(N, N)`` becomes ``(B, 1, N, N)``.

    A row that sees nobody any more sees itself, so that no softmax is empty; such rows belong to padded steps.
    """
    seen = mask & ~is_pad[:, step][:, None]
    alone = ~seen.any(dim=-1, keepdim=True) & torch.eye(len(mask), dtype=torch.bool, device=mask.device)
    return (seen | alone)[:, None]
