"""What sampling heads share: the network that cleans noisy chunks, and what comes before and after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seerkit.initialise import xavier


class Denoiser(nn.Module):
    """Say how to clean noisy chunks, given what the trunk thinks of each of their actions.

    One token per action of the chunk: the sum of its noisy numbers, its hidden token, its place in the chunk and the
    noise level, each projected. Pre-norm blocks let the actions of a chunk see each other. The last layer starts
    close to 0; not at 0, so that the first update already reaches everything below it.

    In the spirit of the small action experts of pi0 and DreamVLA (CogACT's DiT); unlike those, a hidden token is added
    to the action it stands for instead of being a token of its own, and the noise level is added to the tokens instead
    of scaling the norms.

    Args:
        dim: width of the trunk.
        chunk: actions of a chunk.
        action_dim: size of an action.
        width: width of its own blocks.
        depth: how many blocks.
        heads: attention heads; must divide ``width``.

    Shape:
        noisy: ``(N, K, action_dim)``.
        hidden: ``(N, K, dim)``.
        level: ``(N,)`` in [0, 1]; 1 = pure noise.
        is_pad: bool ``(N, K)``, ``True`` = an action beyond the episode's end, which no other action sees.
        returns: ``(N, K, action_dim)``; what it means is up to the head.

    Raises:
        ValueError: if ``heads`` does not divide ``width``, ``width`` is odd, or a chunk has another length.
    """

    def __init__(
        self, *, dim: int, chunk: int, width: int, action_dim: int = 7, depth: int = 3, heads: int = 4
    ) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ValueError(f"expected an even width divisible by the number of heads, got {width} and {heads}")
        self.noisy, self.hidden = nn.Linear(action_dim, width), nn.Linear(dim, width)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.place = nn.Parameter(torch.randn(chunk, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width=width, heads=heads) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, action_dim)
        xavier(self)
        nn.init.normal_(self.out.weight, std=1e-3)

    def forward(self, noisy: Tensor, hidden: Tensor, level: Tensor, is_pad: Tensor | None = None) -> Tensor:
        if noisy.shape[1] != len(self.place):
            raise ValueError(f"expected chunks of {len(self.place)} actions, got {noisy.shape[1]}")
        waves = self.level(level_waves(level, self.place.shape[1]).to(noisy.dtype))
        x = self.noisy(noisy) + self.hidden(hidden) + self.place + waves[:, None]
        mask = None if is_pad is None else self._mask(is_pad)
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.norm(x))

    def _mask(self, is_pad: Tensor) -> Tensor:
        itself = torch.eye(is_pad.shape[1], dtype=torch.bool, device=is_pad.device)
        return (~is_pad[:, None, :] | itself)[:, None]


class _Block(nn.Module):
    """Attend, then transform each token; both pre-normalised with residuals."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.mix(seen.transpose(1, 2).flatten(2))
        return x + self.feed(self.norm2(x))


def level_waves(level: Tensor, width: int) -> Tensor:
    """Return sines and cosines of a noise level at many rates: ``(N,)`` to ``(N, width)``."""
    rate = 10000.0 ** -(torch.arange(width // 2, device=level.device) / (width // 2))
    angle = 1000 * level[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def repeated(hidden: Tensor, target: Tensor, is_pad: Tensor | None, *, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out chunks for learning, each ``draws`` times: hidden, actions and padding as ``(B * T * draws, K, ...)``."""
    is_pad = torch.zeros_like(target[..., 0], dtype=torch.bool) if is_pad is None else is_pad
    hidden, target, is_pad = (x.flatten(0, 1).repeat_interleave(draws, dim=0) for x in (hidden, target, is_pad))
    return hidden, target, is_pad


def spread(rows: Tensor, *, draws: int) -> Tensor:
    """Draw a uniform number per row of `repeated`; those of one chunk fall into ``draws`` equal parts of [0, 1).

    Every number is uniform by itself, yet each chunk is met at low and at high noise in every pass, which makes the
    gradient less noisy than independent draws.
    """
    part = torch.arange(draws, device=rows.device).repeat(len(rows) // draws)
    return (part + torch.rand(len(rows), device=rows.device)) / draws


def rows_of(hidden: Tensor, noise: Tensor, *, action_dim: int) -> tuple[Tensor, Tensor]:
    """Lay out hidden tokens and noise for acting, as ``(B * T, K, ...)``.

    Raises:
        ValueError: if the noise does not have the shape of the chunks.
    """
    if noise.shape != (*hidden.shape[:3], action_dim):
        raise ValueError(f"expected noise of shape {(*hidden.shape[:3], action_dim)}, got {tuple(noise.shape)}")
    return hidden.flatten(0, 1), noise.flatten(0, 1)


def gathered(rows: Tensor, *, steps: int, draws: int) -> Tensor:
    """Undo `repeated`: ``(B * T * draws, K, A)`` to ``(B, T, K, draws, A)``."""
    return rows.unflatten(0, (-1, steps, draws)).movedim(2, 3)


def as_chunk(action: Tensor) -> Tensor:
    """Clamp sampled actions ``(..., A)`` to [-1, 1] and turn the last number, the gripper's, into a finite logit.

    A gripper number ``g`` becomes the logit of probability ``(g + 1) / 2``, so that its sign decides.
    """
    gripper = 2 * action[..., -1:].clamp(-0.9999, 0.9999).atanh()
    return torch.cat([action[..., :-1].clamp(-1, 1), gripper], dim=-1)
