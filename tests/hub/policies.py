"""Small policies with a frozen vision encoder, and that encoder as its authors would publish it."""

from __future__ import annotations

import torch
from safetensors.torch import save
from torch import Tensor

from seerkit import Policy
from tests.small import small_recipe

MAE = "timm:vit_base_patch16_224.mae"
MAE_REPO, MAE_FILE = "timm/vit_base_patch16_224.mae", "model.safetensors"
VIT = "encoders.image.vit"
SOURCE = "encoders.image.source.vit"


def frozen_policy(*overrides: str) -> Policy:
    """A small Seer whose ViT is frozen and, by its recipe, MAE's."""
    return Policy(small_recipe("seer_calvin", "goal=words", *overrides))


def published(seed: int = 0) -> dict[str, Tensor]:
    """Weights for `frozen_policy`'s ViT under their authors' names."""
    torch.manual_seed(seed)
    return {
        name: torch.randn_like(tensor)
        for name, tensor in frozen_policy().encoders["image"].vit.vit.state_dict().items()
    }


def published_file(seed: int = 0) -> bytes:
    return save(published(seed))


def holds(policy: Policy, weights: dict[str, Tensor]) -> bool:
    """Whether the policy's ViT has just these weights."""
    mine = policy.encoders["image"].vit.vit.state_dict()
    return mine.keys() == weights.keys() and all(torch.equal(mine[name], weights[name]) for name in weights)


def same(a: Policy, b: Policy) -> bool:
    """Whether two policies have the same tensors under the same names."""
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
