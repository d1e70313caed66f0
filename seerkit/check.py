"""Build a recipe and train it on one made-up batch: does everything fit?"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from seerkit.policy import Policy
from seerkit.recipe import Recipe
from seerkit.sample import sample_batch


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found.

    Args:
        losses: every weighted term on random data.
        reached: tensors a gradient reached.
        seconds: how long building, running and backpropagating took.
    """

    losses: dict[str, float]
    reached: int
    seconds: float


def check_recipe(recipe: Recipe, *, batch: int = 2) -> Check:
    """Build a recipe, compute its losses on random windows, backpropagate, act once and foresee once, as far as it can.

    Raises:
        RecipeError: if a component cannot be built.
        ValueError: if shapes do not fit, a loss is not finite, or a trainable tensor has no gradient; names it.
    """
    start = time.perf_counter()
    policy = Policy(recipe).train()
    td = sample_batch(recipe, batch=batch)
    terms = policy.loss(td)
    losses = {name: value.item() for name, value in terms.items()}
    bad = [name for name, value in losses.items() if not torch.isfinite(torch.tensor(value))]
    if bad:
        raise ValueError(f"expected finite losses, got {losses}")
    torch.stack([terms[name] for name in losses]).sum().backward()
    trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    idle = [name for name, p in trained.items() if p.grad is None]
    if idle:
        raise ValueError(f"no gradient reaches {idle}; freeze them or remove what they belong to")
    if "action" not in policy.heads:
        if policy.pictures:
            policy.foresee(td)
        return Check(losses=losses, reached=len(trained), seconds=time.perf_counter() - start)
    row = td["observation", "state"][:, 0]
    observation = {
        "image": {name: td["observation", "image", name][:, 0] for name in policy.cameras},
        "state": row,
        "language_instruction": td.get("language_instruction").tolist(),
        "goal": td.to_dict().get("goal", {}),
    }
    policy.agent(batch_size=batch).act(observation, foresee="foresight" in policy.heads)
    return Check(losses=losses, reached=len(trained), seconds=time.perf_counter() - start)
