"""Sampling and binned heads inside a policy: seeds, neighbours, padding, ensemblers, and learning a batch by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seerkit import Policy, keys
from seerkit.sample import sample_batch
from tests.small import small_policy, small_recipe

SAMPLING = ("flow", "diffusion")
ROWS = 3


def policy_with(action: str, *overrides: str) -> Policy:
    torch.manual_seed(0)
    policy = small_policy("seer_tabletop", f"action={action}", *overrides).eval()
    for query in policy.trunk.queries.values():
        torch.nn.init.normal_(query, std=0.5)
    if action in SAMPLING:
        torch.nn.init.normal_(policy.heads["action"].denoiser.out.weight, std=0.3)  # pyright: ignore
    return policy


def observation(rows: list[int]) -> dict:
    rng = np.random.default_rng(0)
    frames = {name: rng.integers(0, 256, (ROWS, 3, 32, 32), dtype=np.uint8)[rows] for name in ("primary", "wrist")}
    state = rng.normal(size=(ROWS, 7)).astype(np.float32)[rows]
    return {"image": frames, "state": state, "language_instruction": ["reach"] * len(rows)}


def acted(policy: Policy, rows: list[int], seeds: list[int], *, steps: int = 3) -> np.ndarray:
    agent = policy.agent(batch_size=len(rows))
    agent.reset(seeds=seeds)
    return np.stack([agent.act(observation(rows)) for _ in range(steps)])


@pytest.mark.parametrize("action", SAMPLING)
def test_what_is_sampled_depends_on_the_episodes_seed_and_on_no_neighbour(action: str) -> None:
    policy = policy_with(action, "ensemble=first")
    together = acted(policy, [0, 1, 2], [5, 6, 5])
    assert np.array_equal(together, acted(policy, [0, 1, 2], [5, 6, 5]))
    np.testing.assert_allclose(acted(policy, [1], [6])[:, 0], together[:, 1], atol=1e-5)
    other = acted(policy, [0, 1, 2], [5, 7, 5])
    assert np.array_equal(other[:, [0, 2]], together[:, [0, 2]])
    assert (np.abs(other[:, 1] - together[:, 1]).max(axis=-1) > 1e-3).all()
    assert (np.abs(np.diff(together[:, 0], axis=0)).max(axis=-1) > 1e-3).all()  # every step draws anew


@pytest.mark.parametrize("action", SAMPLING)
def test_a_forward_pass_takes_a_generator_or_the_noise_itself(action: str) -> None:
    policy = policy_with(action)
    td = sample_batch(policy.recipe, batch=2, targets=False)
    chunks = [policy(td, generator=torch.Generator().manual_seed(seed))[keys.CHUNK] for seed in (1, 1, 2)]
    assert torch.equal(chunks[0], chunks[1])
    assert not torch.allclose(chunks[0], chunks[2])
    td[keys.under(keys.NOISE, "action")] = policy.draw_noise(2, 1, generator=torch.Generator().manual_seed(2))
    assert torch.equal(policy(td)[keys.CHUNK], chunks[2])


@pytest.mark.parametrize("action", [*SAMPLING, "bins"])
@pytest.mark.parametrize("ensemble", ["first", "temporal", "receding"])
def test_every_ensembler_goes_with_every_head(action: str, ensemble: str) -> None:
    actions = acted(policy_with(action, f"ensemble={ensemble}", "chunk=4"), [0, 1], [1, 2], steps=5)
    assert np.abs(actions[..., :-1]).max() <= 1
    assert set(np.unique(actions[..., -1])) <= {-1.0, 1.0}


@pytest.mark.parametrize("action", [*SAMPLING, "bins"])
def test_actions_beyond_the_episode_change_no_loss(action: str) -> None:
    policy = policy_with(action, "chunk=4")
    td = sample_batch(policy.recipe, batch=2)
    td[keys.ACTION_IS_PAD][0, :, 2:] = True
    losses = []
    for garbage in (0.3, -0.8):
        td[keys.TARGET_CHUNK][0, :, 2:] = garbage
        torch.manual_seed(0)
        losses.append(policy.loss(td))
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0].keys())  # noqa: SIM118


@pytest.mark.parametrize("action", SAMPLING)
def test_in_pre_training_steps_without_a_goal_are_not_learned(action: str) -> None:
    recipe = small_recipe("seer_calvin_pretrain", "goal=words", f"action={action}", "steps=6", "trunk.dropout=0")
    policy, td = Policy(recipe).eval(), sample_batch(recipe, batch=2)
    losses = []
    for garbage in (0.3, -0.8):
        td[keys.TARGET_CHUNK][:, 2:] = garbage  # the goal lies 4 steps ahead
        torch.manual_seed(0)
        losses.append(policy.loss(td)["loss_denoise"])
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    ("action", "near"),
    [
        (("action=flow", "heads.action.module.prediction=velocity"), 0.25),
        (("action=flow", "heads.action.module.prediction=sample"), 0.08),
        (("action=diffusion",), 0.08),
        (("action=bins",), 0.05),
    ],
    ids=["velocity", "flow", "diffusion", "bins"],
)
def test_a_batch_is_learned_by_heart(action: tuple[str, ...], near: float) -> None:
    """What is sampled after training lands on what was demonstrated, whatever the noise."""
    torch.manual_seed(0)
    policy = small_policy("seer_tabletop", *action, "foresight=none").train()
    td = sample_batch(policy.recipe, batch=4)
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 180)
    for _ in range(180):
        optimiser.zero_grad()
        torch.stack([*policy.loss(td).values()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
        rate.step()
    wanted = td[keys.TARGET_CHUNK]
    with torch.no_grad():
        chunks = torch.stack([policy.eval()(td)[keys.CHUNK] for _ in range(5)])
    assert (chunks[..., :-1] - wanted[..., :-1]).abs().mean() < near  # who knows nothing is 0.5 away
    assert ((chunks[..., -1] > 0) == (wanted[..., -1] > 0)).float().mean() > 0.95
