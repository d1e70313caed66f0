"""What query tokens attend to in a block of the trunk, worked out again from what the block reads.

Scaled dot-product attention hands out no weights. A pass of the trunk is watched instead: what the chosen block was
given is enough to compute its softmax once more, for the wanted rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seerkit.trunk import Block, TokenTrunk


@torch.no_grad()
def attention(trunk: nn.Module, tokens: Mapping[str, Tensor], *, query: str, at: int, block: int = -1) -> Tensor:
    """Return how much the tokens of one query group attend to every token of the window.

    Args:
        trunk: in evaluation mode.
        tokens: encoded context by group, ``(B, T, n, D)`` or, the same at every step, ``(B, 1, n, D)``.
        query: the group that looks.
        at: the step it looks from.
        block: which block, counted from the first, or with -1 from the last.

    Shape:
        returns: ``(B, heads, n, T, tokens per step)``, 1 in sum over the last two axes, 0 where the mask hides; tokens
            of a step in the layout's order, see `seerkit.TokenLayout.slots`.

    Raises:
        TypeError: if the trunk is no `TokenTrunk`.
        ValueError: if there is no such group, step or block, or the trunk is being trained.
    """
    if not isinstance(trunk, TokenTrunk):
        raise TypeError(f"expected a TokenTrunk, whose attention is known, given {type(trunk).__name__}")
    chosen = _chosen(trunk, query, block)
    context = [tokens[name] for name in trunk.layout.context]
    steps = max(group.shape[1] for group in context)
    if not 0 <= at < steps:
        raise ValueError(f"expected a step in 0..{steps - 1}, given {at}")
    seen: list[tuple[Tensor, Tensor]] = []
    watch = chosen.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[1])))
    try:
        trunk(*context, outputs=[query], at=[at])
    finally:
        watch.remove()
    size = trunk.layout.tokens_per_step
    kept = trunk.layout.needed(steps, outputs=[query], at=[at])
    slot = trunk.layout.slots()[query]
    rows = torch.searchsorted(kept, torch.arange(at * size + slot.start, at * size + slot.stop))
    weights = _softmax(chosen, *seen[0], rows=rows.to(seen[0][0].device))
    everywhere = weights.new_zeros(*weights.shape[:-1], steps * size)
    everywhere[..., kept.to(weights.device)] = weights
    return everywhere.unflatten(-1, (steps, size))


def by_group(weights: Tensor, slots: Mapping[str, slice], *, at: int) -> dict[str, tuple[float, float]]:
    """Add up attention per token group, at the step itself and at all others; mean over batch, heads and queries.

    Args:
        weights: see `attention`.
        slots: where each group stands inside a step.
        at: the step the queries look from.
    """
    mean = weights.mean(dim=(0, 1, 2))
    now = {name: float(mean[at, slot].sum()) for name, slot in slots.items()}
    return {name: (now[name], float(mean[:, slot].sum()) - now[name]) for name, slot in slots.items()}


def _chosen(trunk: TokenTrunk, query: str, block: int) -> Block:
    depth = len(trunk.blocks)
    if query not in trunk.layout.queries:
        raise ValueError(f"expected a query group of {[*trunk.layout.queries]}, given {query!r}")
    if not -depth <= block < depth:
        raise ValueError(f"expected a block in {-depth}..{depth - 1}, given {block}")
    if trunk.training:
        raise ValueError("expected a trunk in evaluation mode; dropout and hidden tokens change what is attended to")
    chosen = trunk.blocks[block]
    if not isinstance(chosen, Block):
        raise TypeError(f"expected a Block, whose attention is known, given {type(chosen).__name__}")
    return chosen


def _softmax(block: Block, x: Tensor, mask: Tensor, *, rows: Tensor) -> Tensor:
    """Compute the block's attention weights of some rows: ``(B, heads, rows, N)``."""
    query, key, _ = block.qkv(block.norm1(x)).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    scores = query[:, :, rows] @ key.transpose(-1, -2) * key.shape[-1] ** -0.5
    return scores.masked_fill(~mask[..., rows, :], -torch.inf).softmax(dim=-1)
