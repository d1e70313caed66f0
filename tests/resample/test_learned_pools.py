"""TokenLearner and attention pooling: what they ignore, what they must not, and the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seerkit import load_recipe
from seerkit.resample import MapPool, TokenLearner

WIDTH = 16


@pytest.fixture(params=[TokenLearner(width=WIDTH, latents=3), MapPool(width=WIDTH, latents=3, heads=4)], ids=repr)
def resample(request: pytest.FixtureRequest) -> nn.Module:
    return request.param


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(0))


def test_the_order_of_patches_does_not_matter(resample: nn.Module, patches: torch.Tensor) -> None:
    torch.testing.assert_close(resample(patches[:, torch.randperm(9)]), resample(patches))


def test_every_patch_matters_to_every_latent_of_its_own_image(resample: nn.Module, patches: torch.Tensor) -> None:
    before = resample(patches)
    patches[1, 4] += 1
    after = resample(patches)
    assert torch.equal(after[0], before[0])
    assert (after[1] != before[1]).any(dim=-1).all()


def test_latents_differ(resample: nn.Module, patches: torch.Tensor) -> None:
    latents = resample(patches)[0]
    assert torch.cdist(latents, latents)[~torch.eye(3, dtype=torch.bool)].min() > 1e-3


def test_gradients_reach_everything(resample: nn.Module, patches: torch.Tensor) -> None:
    patches.requires_grad_()
    (resample(patches) * torch.randn(2, 3, WIDTH)).sum().backward()
    for name, parameter in resample.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert patches.grad is not None
    assert (patches.grad.abs().sum(dim=-1) > 0).all()


def test_token_learner_averages_with_weights_that_sum_to_one(patches: torch.Tensor) -> None:
    learner = TokenLearner(width=WIDTH, latents=3)
    maps = learner.maps(patches)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 3))
    assert (maps > 0).all()
    expected = torch.stack([(maps[..., q : q + 1] * patches).sum(dim=1) for q in range(3)], dim=1)
    torch.testing.assert_close(learner(patches), expected)
    order = torch.randperm(9)
    torch.testing.assert_close(learner.maps(patches[:, order]), maps[:, order])


def test_token_learner_gives_equal_patches_back() -> None:
    patch = torch.randn(1, 1, WIDTH)
    torch.testing.assert_close(
        TokenLearner(width=WIDTH, latents=3)(patch.expand(1, 9, WIDTH)), patch.expand(1, 3, WIDTH)
    )


def test_map_pool_equals_attention_written_out(patches: torch.Tensor) -> None:
    torch.manual_seed(0)
    pool = MapPool(width=WIDTH, latents=2, heads=4)
    seen = []
    key, value = pool.key_value(patches[0]).split(WIDTH, dim=-1)
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        weight = (pool.query(pool.seeds)[:, part] @ key[:, part].T / 4**0.5).softmax(dim=-1)
        seen.append(weight @ value[:, part])
    latents = pool.norm1(pool.seeds + pool.out(torch.cat(seen, dim=-1)))
    torch.testing.assert_close(pool(patches)[0], pool.norm2(latents + pool.feed(latents)), atol=1e-5, rtol=1e-5)


def test_widths_and_heads_must_fit() -> None:
    with pytest.raises(ValueError, match="width=10, heads=4"):
        MapPool(width=10, heads=4)


@pytest.mark.parametrize(("option", "latents"), [("token_learner", 8), ("map", 1)])
def test_options_fit_every_camera(option: str, latents: int) -> None:
    """Width follows the camera's features, tokens follow the number of cameras."""
    for name, width in (("seer_calvin", 768), ("seer_tabletop", 96)):
        for cameras in ("[primary,wrist]", "[primary]"):
            config = load_recipe(name, f"resample={option}", f"cameras={cameras}").config
            assert config["encoders"]["image"]["module"]["resample"]["width"] == width
            assert config["layout"]["context"]["image"] == latents * len(config["cameras"])
