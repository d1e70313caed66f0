"""A part and a recipe of your own, outside the package: `python examples/own_part.py`."""

from pathlib import Path

from torch import Tensor, nn

from seerkit import build_policy


class LargestPatches(nn.Module):
    """Keep the patches of largest norm, in their order.

    Args:
        latents: how many patches stay.

    Shape:
        patches: ``(N, P, D)``.
        returns: ``(N, latents, D)``.

    Raises:
        ValueError: if there are fewer patches than latents.
    """

    def __init__(self, *, latents: int) -> None:
        super().__init__()
        self.latents = latents

    def forward(self, patches: Tensor) -> Tensor:
        if patches.shape[1] < self.latents:
            raise ValueError(f"expected at least {self.latents} patches, got {patches.shape[1]}")
        kept = patches.norm(dim=-1).topk(self.latents, dim=1).indices.sort(dim=1).values
        return patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))


def main() -> None:
    """Build the policy of ``own_part.yaml`` and say what it looks like."""
    policy = build_policy(str(Path(__file__).with_suffix(".yaml")))
    trainable = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    print(f"{policy.recipe.name}: {policy.layout.tokens_per_step} tokens per step, {trainable:,} trainable parameters")


if __name__ == "__main__":
    main()
