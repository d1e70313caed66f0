"""An ablation is an override; it leaves every other loss as it was."""

from __future__ import annotations

import pytest
import torch

from seerkit import keys
from seerkit.recipe import Recipe
from seerkit.sample import sample_batch
from tests.small import small_policy, small_recipe

ABLATIONS = [
    "foresight=none",
    "layout.edges.action.foresight.when=never",
    "resample=mean_pool",
    "ensemble=first",
    "ensemble=receding",
    "goal=none",
    "state=none",
]


def losses(recipe_change: tuple[str, ...]) -> tuple[dict[str, float], list[str]]:
    torch.manual_seed(0)
    policy = small_policy(
        "seer_calvin", "steps=3", *(() if "goal=none" in recipe_change else ("goal=words",)), *recipe_change
    )
    batch = sample_batch(policy.recipe, batch=2)
    terms = policy.loss(batch)
    sum(terms.values()).backward()
    idle = [
        name
        for name, p in policy.named_parameters()
        if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all())
    ]
    return {name: value.item() for name, value in terms.items()}, idle


@pytest.mark.parametrize("ablation", ["", *ABLATIONS])
def test_builds_gives_a_loss_and_backpropagates(ablation: str) -> None:
    terms, idle = losses((ablation,) if ablation else ())
    expected = {"loss_arm", "loss_gripper"} | (set() if ablation == "foresight=none" else {"loss_foresight"})
    assert set(terms) == expected
    assert not idle, f"no gradient reaches {idle}"


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_equal_predictions_cost_the_same(ablation: str) -> None:
    """The value of the arm and gripper terms on given predictions does not depend on what else the recipe has."""
    words = () if "goal" in ablation else ("goal=words",)
    policies = [
        small_policy("seer_calvin", "steps=3", "goal=words"),
        small_policy("seer_calvin", "steps=3", *words, ablation),
    ]
    torch.manual_seed(3)
    batch = sample_batch(policies[0].recipe, batch=4)
    batch[keys.CHUNK] = torch.randn(4, 3, 3, 7)
    batch[keys.ACTION_IS_PAD][:, -1, 1:] = True
    for name in policies[0].cameras:
        batch[keys.under(keys.TARGET_PIXELS, name)] = torch.randn(4, 3, 3, 32, 32)
        batch[keys.under(keys.FORESIGHT, name)] = torch.randn(4, 3, 16, 192)
    before, after = (policy.supervise(batch.clone()) for policy in policies)
    assert set(after.keys()) <= set(before.keys())
    for name in after.keys():  # noqa: SIM118 - a TensorDict iterates over its batch
        assert torch.equal(before[name], after[name]), name


def test_padding_enters_no_loss() -> None:
    policy = small_policy("seer_calvin", "steps=3", "goal=words")
    batch = sample_batch(policy.recipe, batch=2)
    batch[keys.ACTION_IS_PAD][:, 2:] = True
    batch[keys.FUTURE_IS_PAD][:, 1:] = True
    policy.eval()
    before = policy.loss(batch)
    batch[keys.TARGET_CHUNK][:, 2:] = 0.123
    for name in policy.cameras:
        batch["future", "image", name][:, 1:] = 7
    after = policy.loss(batch)
    for name in before.keys():  # noqa: SIM118
        assert torch.equal(before[name], after[name]), name
    batch[keys.ACTION_IS_PAD][:] = True
    assert policy.loss(batch)["loss_arm"] == 0


def removed(full: Recipe, ablated: Recipe) -> set[str]:
    return set(full.flat()) - set(ablated.flat())


def test_no_foresight_removes_tokens_edges_head_and_loss_and_nothing_else() -> None:
    full, ablated = small_recipe("seer_calvin"), small_recipe("seer_calvin", "foresight=none")
    gone = removed(full, ablated)
    prefixes = ("layout.queries.foresight", "layout.edges.", "heads.foresight.", "losses.foresight.")
    assert all(key.startswith(prefixes) for key in gone)
    assert {prefix for prefix in prefixes if any(key.startswith(prefix) for key in gone)} == set(prefixes)
    same = set(full.flat()) & set(ablated.flat())
    assert all(full.flat()[key] == ablated.flat()[key] for key in same)
    assert not removed(ablated, full) - {"layout.edges"}
