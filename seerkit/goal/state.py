"""From the state to be reached to a goal token."""

from __future__ import annotations

from torch import Tensor, nn


class FutureState(nn.Module):
    """Encode the state to be reached as one token that every step of the window shares.

    Seer (Tian et al., 2024) lets its foresight see a future state while it is pre-trained, as one more token of the
    window; here the state is the goal, known from the first step on and seen by everybody.

    Args:
        encoder: states ``(B, T, S)`` -> ``(B, T, n, dim)``, such as `seerkit.state.PoseGripper`.

    Shape:
        state: ``(B, S)``, as the encoder reads it.
        returns: ``(B, 1, n, dim)``.

    Raises:
        ValueError: if the state has another number of axes.

    Example:
        >>> import torch
        >>> from seerkit.state import PoseGripper
        >>> FutureState(encoder=PoseGripper(dim=4))(torch.zeros(2, 7)).shape
        torch.Size([2, 1, 1, 4])
    """

    def __init__(self, *, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, state: Tensor) -> Tensor:
        if state.dim() != 2:
            raise ValueError(f"expected one state per row (B, S), got shape {tuple(state.shape)}")
        return self.encoder(state[:, None])
