"""Policies that foresee features or depth: who learns, what enters the loss, and what cannot be looked at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seerkit import keys
from seerkit.sample import sample_batch
from tests.small import small_policy, small_recipe

KINDS = {"features": "seer_dino_foresight", "depth": "seer_depth_foresight"}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_head_and_never_the_target(kind: str) -> None:
    policy = small_policy(KINDS[kind], "goal=words").train()
    assert policy.recipe.foresees == kind
    before = {name: value.clone() for name, value in policy.targets.state_dict().items()}
    loss = policy.loss(sample_batch(policy.recipe, batch=2))
    loss["loss_foresight"].backward()
    assert all(p.grad is not None and p.grad.any() for p in policy.heads["foresight"].parameters())
    assert policy.trunk.queries["foresight"].grad.any()
    assert all(p.grad is None for p in policy.targets.parameters())
    optimiser = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.1)
    optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in policy.targets.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_frames_beyond_the_end_enter_no_loss(kind: str) -> None:
    policy = small_policy(KINDS[kind], "goal=words").eval()
    td = sample_batch(policy.recipe, batch=2)
    td[keys.FUTURE_IS_PAD][:, -3:] = True
    before = policy.loss(td)["loss_foresight"]
    other = sample_batch(policy.recipe, batch=2)
    for prefix in (keys.FUTURE, keys.FUTURE_DEPTH):
        for camera in policy.cameras:
            if (key := keys.under(prefix, camera)) in td.keys(include_nested=True):
                td[key] = other[key]
    assert torch.equal(policy.loss(td)["loss_foresight"], before)
    td[keys.FUTURE_IS_PAD][:, -3:] = False
    assert not torch.equal(policy.loss(td)["loss_foresight"], before)


@pytest.mark.parametrize("kind", KINDS)
def test_acting_needs_no_target_and_draws_no_picture(kind: str) -> None:
    policy = small_policy(KINDS[kind], "goal=words").eval()
    td = sample_batch(policy.recipe, batch=2, targets=False)
    assert policy(td)["vla_action", "chunk"].shape == (2, 10, 3, 7)
    with pytest.raises(ValueError, match=f"foresees {kind}, which are no pictures"):
        policy.foresee(td)
    agent = policy.agent()
    observation = {
        "image": {name: td["observation", "image", name][0, 0] for name in policy.cameras},
        "state": td["observation", "state"][0, 0],
        "language_instruction": "reach the block",
    }
    assert agent.act(observation, foresee=True).shape == (7,)
    assert agent.foresight == {}


def test_a_batch_without_depth_is_named() -> None:
    policy = small_policy("seer_depth_foresight", "goal=words")
    td = sample_batch(small_recipe("seer_calvin", "goal=words"), batch=2)
    with pytest.raises(KeyError, match="depth"):
        policy.loss(td)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (keys.DEPTH, lambda depth: depth[:, 1:], r"expected shape \(2, 10, 1, 32, 32\), got \(2, 9, 1"),
        (keys.DEPTH, lambda depth: depth[:, :, 0], r"expected uint16 \(B, T, 1, H, W\)"),
        (keys.DEPTH, lambda depth: depth.float() / 1000, r"expected uint16 \(B, T, 1, H, W\), got torch.float32"),
        (keys.FUTURE_DEPTH, lambda depth: depth[:, :1], r"expected shape \(2, 3, 1, 32, 32\), got \(2, 1, 1"),
        (keys.FUTURE_DEPTH, lambda depth: depth[..., 1:], r"expected shape \(2, 3, 1, 32, 32\), got \(2, 3, 1, 32, 31"),
        (keys.FUTURE_DEPTH, lambda depth: depth.expand(-1, -1, 3, -1, -1), r"expected uint16 \(B, T, 1, H, W\)"),
    ],
)
def test_depth_of_another_shape_or_unit_is_named(place: tuple[str, ...], change, message: str) -> None:  # noqa: ANN001
    policy = small_policy("seer_depth_foresight", "goal=words")
    td, key = sample_batch(policy.recipe, batch=2), keys.under(place, "wrist")
    td[key] = change(td[key])
    with pytest.raises(ValueError, match=f"{place[0]}.*wrist.*{message}"):
        policy.loss(td)


def test_a_perfect_head_has_no_error_and_a_still_scene_is_copied_perfectly() -> None:
    """Validation's numbers: cosine 1 and error 0 m where nothing moves, and the prediction is measured against data."""
    from seerkit.train.foreseen import foreseen_means, foreseen_sums

    for kind, recipe in KINDS.items():
        policy = small_policy(recipe, "goal=words").eval()
        td = still(sample_batch(policy.recipe, batch=2), policy.cameras)
        sums = foreseen_sums(policy, td, kind=kind)
        means = foreseen_means(sums)
        name, best = ("cosine", 1.0) if kind == "features" else ("depth_error", 0.0)
        assert sums["frames primary"] == 2 * 10
        for camera in policy.cameras:
            assert means[f"val_{name}_copy_{camera}"] == pytest.approx(best, abs=1e-5)
            assert abs(means[f"val_{name}_{camera}"] - best) > 0.1  # an untrained head


def test_a_recipe_that_only_foresees_features_can_be_checked() -> None:
    from seerkit.check import check_recipe

    found = check_recipe(small_recipe("gr1_video_pretrain", "goal=words", "foresight=dino"))
    assert list(found.losses) == ["loss_foresight"]


def test_what_the_present_frame_did_not_measure_is_not_held_against_the_copy() -> None:
    """A copy is right wherever it says anything: holes in the present, the future or a whole frame change nothing."""
    from seerkit.train.foreseen import foreseen_means, foreseen_sums

    policy = small_policy("seer_depth_foresight", "goal=words").eval()
    td = still(sample_batch(policy.recipe, batch=2), policy.cameras)
    for camera in policy.cameras:
        now, later = keys.under(keys.DEPTH, camera), keys.under(keys.FUTURE_DEPTH, camera)
        td[now], td[later] = (torch.full_like(td[key], level) for key, level in ((now, 1000), (later, 1100)))
        td[now][:, 7:, :, :20] = 0  # copied into the three last steps, whose futures are whole
        td[later][0, :, :, 20:24] = 0
        td[now][1, 9], td[later][1, 0] = 0, 0
    sums = foreseen_sums(policy, td, kind="depth")
    means = foreseen_means(sums)
    for camera in policy.cameras:
        # 1.0 m stays, but 1.1 m comes after the last three steps; of row 1 two of these cannot be compared
        assert means[f"val_depth_error_copy_{camera}"] == pytest.approx(0.1 * 4 / 17, abs=1e-5)
        assert (sums[f"frames {camera}"], sums[f"frames_copy {camera}"]) == (18, 17)


def still(td: Tensor, cameras: tuple[str, ...]) -> Tensor:
    """Let every frame be the first one."""
    for camera in cameras:
        for now, later in ((keys.IMAGE, keys.FUTURE), (keys.DEPTH, keys.FUTURE_DEPTH)):
            if (key := keys.under(now, camera)) in td.keys(include_nested=True):
                for place in (key, keys.under(later, camera)):
                    td[place] = td[key][:, :1].expand_as(td[place]).clone()
    return td
