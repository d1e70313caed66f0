"""What depth foresight asks: how far away everything will be, up to a common factor that costs less."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit.loss.action import valid_mean


class SiLogLoss(nn.Module):
    """Scale-invariant error of log depth (Eigen et al., 2014), averaged over cameras and frames in the episode.

    With ``d`` the difference of log depths over the measured pixels of a frame: ``mean(d**2) - lam * mean(d)**2``.
    DreamVLA uses it with ``lam = 0.5`` on a rectified depth; here the prediction is the logarithm itself, which is
    positive depth without a rule for zero.

    Args:
        lam: 0 is the plain squared error of log depth; 1 forgives any common factor.

    Shape:
        predictions: log metres ``(B, T, P, N)`` per camera, followed by
        targets: metres ``(B, T, P, N)`` per camera, 0 = nothing measured there, followed by
        is_pad: bool ``(B, T)``, ``True`` = the frame lies beyond the episode's end.
        returns: a scalar; 0 if nothing is valid.

    Raises:
        ValueError: if predictions and targets are not as many or not of one shape, or ``lam`` is not in [0, 1].
    """

    def __init__(self, *, lam: float = 0.5) -> None:
        super().__init__()
        if not 0 <= lam <= 1:
            raise ValueError(f"expected lam in [0, 1], got {lam}")
        self.lam = lam

    def forward(self, *inputs: Tensor) -> Tensor:
        *depths, is_pad = inputs
        if not depths or len(depths) % 2:
            raise ValueError(f"expected as many predictions as targets, then the padding; got {len(depths)} depths")
        half = len(depths) // 2
        errors = [self._error(*pair) for pair in zip(depths[:half], depths[half:], strict=True)]
        return valid_mean(torch.stack(errors).mean(dim=0), is_pad)

    def _error(self, log_depth: Tensor, target: Tensor) -> Tensor:
        if log_depth.shape != target.shape:
            raise ValueError(f"expected the targets' shape {tuple(target.shape)}, predicted {tuple(log_depth.shape)}")
        measured = target > 0
        count = measured.flatten(2).sum(dim=-1).clamp(min=1)
        difference = torch.where(measured, log_depth - torch.where(measured, target, 1.0).log(), 0.0).flatten(2)
        return difference.square().sum(dim=-1) / count - self.lam * (difference.sum(dim=-1) / count).square()


def depth_error(log_depth: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error in metres over the measured pixels of each frame.

    Shape:
        log_depth, target: as `SiLogLoss` takes them, one camera.
        returns: ``(B, T)``; 0 where nothing was measured.
    """
    measured = (target > 0).flatten(2)
    error = torch.where(measured, (log_depth.exp() - target).flatten(2).abs(), 0.0)
    return error.sum(dim=-1) / measured.sum(dim=-1).clamp(min=1)
