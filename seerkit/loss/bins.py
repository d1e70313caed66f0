"""What imitation asks of an arm whose motion is classified."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from seerkit.bins import to_bins
from seerkit.loss.action import valid_mean


class BinLoss(nn.Module):
    """Cross-entropy of the bins the demonstrated arm motion falls into, averaged over all actions inside the episode.

    Divided by the logarithm of the number of bins: whoever knows nothing pays 1, however fine the bins are, so that a
    change of ``bins`` needs no other weight.

    Shape:
        logits: ``(B, T, K, A - 1, bins)``, uniform bins on [-1, 1].
        target: ``(B, T, K, A)``; the last number, the gripper's, is left out.
        is_pad: bool ``(B, T, K)``, ``True`` = beyond the episode's end.
        returns: a scalar; 0 if nothing is valid.
    """

    def forward(self, logits: Tensor, target: Tensor, is_pad: Tensor) -> Tensor:
        bins = logits.shape[-1]
        wanted = to_bins(target[..., :-1], bins)
        error = functional.cross_entropy(logits.movedim(-1, 1), wanted, reduction="none").mean(dim=-1)
        return valid_mean(error / math.log(bins), is_pad)
