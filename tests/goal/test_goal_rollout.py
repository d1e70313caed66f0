"""From demonstrations to acting: a policy told by pictures learns to tell them apart, and the twin shows it goals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seerkit import Agent, Policy, build_policy, keys
from seerkit.data.store import Conventions, Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from seerkit.envs import make
from seerkit.envs.contract import EVAL_SEEDS, MAX_ROTATION, MAX_TRANSLATION
from seerkit.envs.pose import Pose
from seerkit.eval.evaluate import plan_of
from seerkit.eval.rollout import rollout
from seerkit.train.loop import train

SMALL = [
    "dim=32",
    "image_size=32",
    "trunk.depth=2",
    "trunk.heads=2",
    "resample=keep",
    "layout.context.image.per_camera=16",
]


def two_goals(path: Path) -> Store:
    """Episodes that look and read alike until their last step, where a red or a blue square says which way it was."""
    with StoreWriter(path, Conventions(cameras={name: (3, 32, 32) for name in ("primary", "wrist")})) as writer:
        for number in range(10):
            way, length = number % 2, 6
            frames = np.full((length, 3, 32, 32), 100, np.uint8)
            frames[-1, 2 * way, 8:24, 8:24] = 250
            state = np.tile(np.float32([0.5, 0, 0.2, np.pi, 0, 0, 1]), (length, 1))
            action = np.tile(np.float32([0.6 if way else -0.6, 0, 0, 0, 0, 0, 1]), (length, 1))
            writer.add({"primary": frames, "wrist": frames}, state, action, instruction="go there", seed=number)
    return Store(path)


def test_two_pictures_of_the_goal_are_told_apart(tmp_path: Path) -> None:
    store = two_goals(tmp_path / "store")
    torch.manual_seed(0)
    changes = ["updates=100", "warmup=5", "batch_size=8", "holdout=0.3", "validate_every=100", "ema=null"]
    short = [f"train.{change}" for change in changes] + ["foresight=none", "ensemble=first", "trunk.start=gpt2"]
    policy = build_policy("seer_tabletop_goal_image", *SMALL, *short)
    result = train(policy, store, tmp_path / "run", progress=False)
    assert result.metrics["val_loss_arm_wrong_goal"] > 10 * result.metrics["val_loss_arm"]
    assert "val_loss_arm_wrong_word" not in result.metrics, "it reads no words, so they cannot mislead it"

    goals = Windows(store, steps=1, chunk=1, ahead=0, goal=["image"]).gather(torch.tensor([0, 6]))
    picture = goals[keys.under(keys.GOAL_IMAGE, "primary")]
    now = {name: goals[keys.under(keys.IMAGE, name)][:, 0] for name in policy.cameras}
    assert torch.equal(now["primary"][0], now["primary"][1]), "nothing but the goal differs"
    observation = {"image": now, "state": goals[keys.STATE][:, 0], "language_instruction": ("go there",) * 2}
    actions = Agent(policy, batch_size=2).act({**observation, "goal": {"image": {"primary": picture}}})
    np.testing.assert_allclose(actions[:, 0], [-0.6, 0.6], atol=0.25)


class Follower:
    """Move to the pose the goal shows, looking at nothing else."""

    def __init__(self, rows: int) -> None:
        self.batch_size, self.shown = rows, []

    def reset(self, rows: np.ndarray | None = None) -> None:
        del rows

    def act(self, observation: dict[str, Any]) -> np.ndarray:
        self.shown.append(np.array(observation["goal"]["state"]))
        return np.stack(list(map(follow, observation["state"], observation["goal"]["state"])))


def follow(state: np.ndarray, goal: np.ndarray) -> np.ndarray:
    now, then = (Pose.from_euler_xyz(x[3:6], x[:3]) for x in (state, goal))
    gap = now.inverse() @ then
    arm = np.concatenate([0.4 * gap.position / MAX_TRANSLATION, 0.4 * gap.to_rotvec() / MAX_ROTATION])
    return np.append(np.clip(arm, -1, 1), goal[6]).astype(np.float32)


def small_policy() -> Policy:
    torch.manual_seed(0)
    return build_policy("seer_tabletop_goal_image", *SMALL, "eval.env=ReachColor", "+eval.horizon=40")


@pytest.mark.sim
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_who_only_follows_the_goal_reaches_the_block_the_sentence_names(workers: int) -> None:
    """The goal of every episode is that of its own layout, however many processes play."""
    scene = plan_of(small_policy().recipe.config).scenes[0]
    follower = Follower(max(1, workers))
    played = rollout(follower, scene, episodes=4, workers=workers)
    assert played.rate.value == 1.0
    env = make("ReachColor", image_size=32, goal="demonstrated")
    expected = np.stack([env.reset(seed=seed)[0]["goal"]["state"] for seed in EVAL_SEEDS[:4]])
    env.close()
    shown = np.unique(np.concatenate(follower.shown), axis=0)
    np.testing.assert_array_equal(shown, np.unique(expected, axis=0))


@pytest.mark.sim
def test_a_policy_told_by_a_picture_plays_and_meets_the_same_goals_with_any_number_of_workers() -> None:
    policy, plans = small_policy(), []
    scene = plan_of(policy.recipe.config, env="ReachColor").scenes[0]
    assert dict(scene.options) == {"image_size": 32, "goal": "demonstrated"}
    for workers in (1, 2):
        pictures: list[bytes] = []
        hook = policy.encoders["goal_pixels"].register_forward_pre_hook(
            lambda _, given, seen=pictures: seen.extend(row.numpy().tobytes() for row in given[0])
        )
        played = rollout(policy.agent(batch_size=workers), scene, episodes=3, workers=workers)
        hook.remove()
        assert len(pictures) == 3, "each episode's goal is encoded once"
        plans.append((set(pictures), [(episode.seed, episode.steps) for episode in played.episodes]))
    assert plans[0] == plans[1]
    assert len(plans[0][0]) == 3
