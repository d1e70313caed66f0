"""Recomputed attention is the real one, and finds its way back into the picture."""

import pytest
import torch
from torch import nn

from seerkit import keys
from seerkit.policy import Policy
from seerkit.resample import GridPool, KeepPatches, MapPool, MeanPool, Perceiver, TokenLearner
from seerkit.sample import sample_batch
from seerkit.viz.attention import attention, by_group
from seerkit.viz.spread import spread
from tests.small import small_policy

RECIPES = ("seer_calvin", "seer_calvin_pretrain", "gr1_calvin", "seer_tabletop")


def sharp(recipe: str) -> Policy:
    """Build a policy whose attention is far from even: a wrong scale or order would show."""
    torch.manual_seed(3)
    policy = small_policy(recipe).eval()
    with torch.no_grad():
        for block in policy.trunk.blocks:  # type: ignore[union-attr]
            block.qkv.weight.normal_(std=0.6)
            block.qkv.bias.normal_()
        for query in policy.trunk.queries.values():  # type: ignore[union-attr]
            query.normal_()
    return policy


def tokens_of(policy: Policy, *, steps: int) -> dict[str, torch.Tensor]:
    encoded = policy.encode(sample_batch(policy.recipe, batch=2, steps=steps, targets=False))
    return {name: encoded[keys.under(keys.TOKENS, name)] for name in policy.layout.context}


@pytest.mark.parametrize("block", [0, -1])
@pytest.mark.parametrize("recipe", RECIPES)
def test_weights_times_values_are_what_the_block_worked_out(recipe: str, block: int) -> None:
    policy = sharp(recipe)
    steps = min(3, policy.steps)
    at, layout, chosen = steps - 1, policy.layout, policy.trunk.blocks[block]  # type: ignore[union-attr]
    read, attended = [], []
    hooks = [
        chosen.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0])),
        chosen.out.register_forward_pre_hook(lambda _, inputs: attended.append(inputs[0])),
    ]
    weights = attention(policy.trunk, tokens_of(policy, steps=steps), query="action", at=at, block=block)
    for hook in hooks:
        hook.remove()
    kept = layout.needed(steps, outputs=["action"], at=[at])
    dim, head = read[0].shape[-1], read[0].shape[-1] // chosen.heads
    values = chosen.norm1(read[0]) @ chosen.qkv.weight[2 * dim :].T + chosen.qkv.bias[2 * dim :]
    slot, size = layout.slots()["action"], layout.tokens_per_step
    rows = [kept.tolist().index(at * size + place) for place in range(slot.start, slot.stop)]
    flat = weights.flatten(-2)[..., kept]
    for number in range(chosen.heads):
        part = slice(number * head, (number + 1) * head)
        torch.testing.assert_close(
            flat[:, number] @ values[..., part], attended[0][:, rows, part], atol=2e-6, rtol=1e-5
        )
    assert weights.max() > 3 / len(kept)  # sharp indeed


@pytest.mark.parametrize("recipe", RECIPES)
def test_weights_add_up_and_nobody_looks_where_the_mask_hides(recipe: str) -> None:
    policy = sharp(recipe)
    steps = min(3, policy.steps)
    at, slot = steps - 1, policy.layout.slots()["action"]
    weights = attention(policy.trunk, tokens_of(policy, steps=steps), query="action", at=at)
    assert weights.shape[2:] == (slot.stop - slot.start, steps, policy.layout.tokens_per_step)
    torch.testing.assert_close(weights.sum(dim=(-1, -2)), torch.ones(weights.shape[:3]))
    size = policy.layout.tokens_per_step
    allowed = policy.layout.mask(steps)[at * size + slot.start : at * size + slot.stop]
    assert bool(((weights.flatten(-2) > 0) <= allowed).all())
    shares = by_group(weights, policy.layout.slots(), at=at)
    assert sum(map(sum, shares.values())) == pytest.approx(1)
    assert (shares["foresight"][0] > 0) is (recipe != "gr1_calvin")  # GR-1's actions never see foresight
    assert shares["action"] == (0, 0)


def test_what_cannot_be_recomputed_is_refused() -> None:
    policy = sharp("seer_tabletop")
    tokens = tokens_of(policy, steps=1)
    with pytest.raises(ValueError, match=r"\['foresight', 'action'\], given 'acton'"):
        attention(policy.trunk, tokens, query="acton", at=0)
    with pytest.raises(ValueError, match=r"block in -2\.\.1, given 2"):
        attention(policy.trunk, tokens, query="action", at=0, block=2)
    with pytest.raises(ValueError, match=r"step in 0\.\.0, given 1"):
        attention(policy.trunk, tokens, query="action", at=1)
    with pytest.raises(ValueError, match="evaluation mode"):
        attention(policy.train().trunk, tokens, query="action", at=0)
    with pytest.raises(TypeError, match="given Identity"):
        attention(nn.Identity(), tokens, query="action", at=0)


@pytest.mark.parametrize("resample", [KeepPatches(), GridPool(side=2), TokenLearner(width=8, latents=3, hidden=4)])
def test_tokens_that_average_are_their_spread_times_the_patches(resample: nn.Module) -> None:
    patches = torch.randn(2, 16, 8)
    made_of = spread(resample, patches)
    assert made_of is not None
    torch.testing.assert_close(made_of @ patches, resample(patches))


def test_a_map_pools_spread_is_its_attention() -> None:
    pool, patches, attended = MapPool(width=8, latents=3, heads=1), torch.randn(2, 16, 8), []
    nn.init.normal_(pool.seeds)
    pool.out.register_forward_pre_hook(lambda _, inputs: attended.append(inputs[0]))
    pool(patches)
    made_of = spread(pool, patches)
    assert made_of is not None
    torch.testing.assert_close(made_of @ pool.key_value(patches)[..., 8:], attended[0])


def test_a_perceivers_spread_is_its_last_layers_attention_to_the_patches() -> None:
    torch.manual_seed(0)
    width, latents = 16, 2
    perceiver, patches, read, attended = (
        Perceiver(width=width, latents=latents, depth=2, heads=1, head_dim=8),
        torch.randn(3, 9, 16),
        [],
        [],
    )
    last = perceiver.attend[-1]
    last.register_forward_pre_hook(lambda _, inputs: read.append(inputs[1]))
    last.out.register_forward_pre_hook(lambda _, inputs: attended.append(inputs[0]))
    made_of = spread(perceiver, patches)
    assert made_of is not None
    row = 0  # values that see nothing of this row's latents: what is attended to comes from patches alone
    basis = torch.linalg.svd(last.norm_latents(read[0][row]))[2][latents:]  # type: ignore[operator]
    with torch.no_grad():
        last.key_value.weight[8:] = torch.randn(8, width - latents) @ basis  # type: ignore[index, union-attr]
    attended.clear()
    perceiver(patches)
    values = last.norm_patches(patches[row]) @ last.key_value.weight[8:].T  # type: ignore[operator, index, union-attr]
    torch.testing.assert_close(made_of[row] @ values, attended[0][row], atol=1e-6, rtol=1e-5)
    assert bool((made_of.sum(-1) < 1).all())


def test_a_mean_tells_no_places() -> None:
    assert spread(MeanPool(), torch.randn(1, 4, 8)) is None
