"""Where in the picture an image token comes from: the way back through the resampler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seerkit.resample import GridPool, KeepPatches, MapPool, Perceiver, TokenLearner


@torch.no_grad()
def spread(resample: nn.Module, patches: Tensor) -> Tensor | None:
    """Return how each token is made up of patches, None for a resampler that does not tell places apart.

    Exact for `KeepPatches`, `GridPool` and `TokenLearner`, which average. `MapPool` and `Perceiver` attend: theirs is
    the attention of the (last) layer to the patches, mean over heads, which leaves out what values, residuals and
    earlier layers do. What a perceiver's latent takes from other latents counts for no patch.

    Args:
        resample: turns patches into tokens.
        patches: ``(N, P, W)``.

    Shape:
        returns: ``(N, Q, P)``, at most 1 in sum over the patches.
    """
    count = patches.shape[1]
    if isinstance(resample, KeepPatches):
        return torch.eye(count, device=patches.device).expand(len(patches), -1, -1)
    if isinstance(resample, GridPool):
        one_hot = torch.eye(count, device=patches.device)[None]  # what a patch with a mark of its own becomes
        return resample(one_hot).expand(len(patches), -1, -1)
    if isinstance(resample, TokenLearner):
        return resample.maps(patches).transpose(1, 2)
    if isinstance(resample, MapPool):
        query = resample.query(resample.seeds).expand(len(patches), -1, -1)
        return _weights(query, resample.key_value(patches).chunk(2, dim=-1)[0], heads=resample.heads)
    if isinstance(resample, Perceiver):
        return _last_layer(resample, patches)
    return None


def _last_layer(resample: Perceiver, patches: Tensor) -> Tensor:
    last: Any = resample.attend[-1]
    seen: list[tuple[Tensor, Tensor]] = []
    watch = last.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[1])))
    try:
        resample(patches)
    finally:
        watch.remove()
    patches, latents = last.norm_patches(seen[0][0]), last.norm_latents(seen[0][1])
    key = last.key_value(torch.cat([patches, latents], dim=1)).chunk(2, dim=-1)[0]
    return _weights(last.query(latents), key, heads=last.heads)[..., : patches.shape[1]]


def _weights(query: Tensor, key: Tensor, *, heads: int) -> Tensor:
    """Return the attention weights of ``(N, Q, D)`` and ``(N, K, D)``, mean over heads: ``(N, Q, K)``."""
    query, key = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1).mean(dim=1)
