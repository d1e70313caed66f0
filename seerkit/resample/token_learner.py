"""TokenLearner: weigh all patches once per latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit.initialise import xavier


class TokenLearner(nn.Module):
    """Average all patches once per latent, with weights that the patches themselves decide (Ryoo et al., 2021).

    As version 1.1 of the official code, which RT-1 uses too: a small network on each normalised patch says how much it
    matters to each latent, a softmax over the patches makes weights of it, and the patches as they came are averaged.
    Its dropout is left out.

    Args:
        width: feature size of patches and latents.
        latents: how many come out.
        hidden: width of the small network.

    Shape:
        patches: ``(N, P, width)``.
        returns: ``(N, latents, width)``.
    """

    def __init__(self, *, width: int, latents: int = 8, hidden: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rate = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, latents))
        xavier(self)

    def forward(self, patches: Tensor) -> Tensor:
        return torch.einsum("npq,npw->nqw", self.maps(patches), patches)

    def maps(self, patches: Tensor) -> Tensor:
        """Return the weight of every patch for every latent: ``(N, P, latents)``, 1 in sum over the patches."""
        return self.rate(self.norm(patches)).softmax(dim=1)
