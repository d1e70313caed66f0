"""Let a policy, or the scripted expert, act on the twin and keep a picture: `python examples/rollout.py --help`."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from seerkit import build_policy
from seerkit.envs import make


def rollout(task: str, policy: str | None, *, seed: int, steps: int) -> tuple[bool, list[np.ndarray]]:
    """Act for at most ``steps`` steps; return success and the frames both cameras saw, side by side."""
    env = make(task, image_size=64)
    observation, info = env.reset(seed=seed)
    agent = build_policy(policy).agent() if policy else None
    expert = env.unwrapped.expert(np.random.default_rng(seed))
    frames = []
    for _ in range(steps):
        frames.append(np.concatenate([*observation["image"].values()], axis=2).transpose(1, 2, 0))
        action = agent.act(observation) if agent else expert.act(env)
        observation, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break
    env.close()
    return bool(info["is_success"]), frames


def main() -> None:
    """Read the arguments, act, write a strip of eight frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="Reach")
    parser.add_argument("--policy", help="a recipe or the folder of a checkpoint; the scripted expert if left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--out", type=Path, default=Path("rollout.png"))
    given = parser.parse_args()
    success, frames = rollout(given.task, given.policy, seed=given.seed, steps=given.steps)
    shown = [frames[i] for i in np.linspace(0, len(frames) - 1, 8).astype(int)]
    Image.fromarray(np.concatenate(shown, axis=0)).save(given.out)
    print(f"{'success' if success else 'no success'} after {len(frames)} steps; see {given.out}")


if __name__ == "__main__":
    main()
