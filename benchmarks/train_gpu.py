"""Windows per second of Seer and Seer-Large on one accelerator, and how long it waits for data.

Each update is one of training: resize, shift and normalise, both frozen encoders, trunk, heads and losses under bf16
autocast, backward, clip, fused AdamW. First with a batch that is already on the device, then fed by `Prefetch` from a
store on disk; the share of time by which the second is slower is what the device waits. Without an accelerator nothing
is measured and `ok` is null; `--quick` then runs tiny models on the CPU, to show that the script works.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from measure import arguments, report, rounded
from official import build
from tensordict import TensorDict

from seerkit import Policy
from seerkit.data.sampler import Sampler
from seerkit.data.store import Conventions, Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from seerkit.train.parallel import World
from seerkit.train.prefetch import Prefetch
from seerkit.train.settings import Settings
from seerkit.train.trainer import Trainer

GOALS = {"seer_calvin": 325, "seer_large_calvin": 110, "idle": 0.03}
SIZES = {"primary": (3, 200, 200), "wrist": (3, 84, 84)}
BATCH = {"full": 16, "quick": 2}


def store(folder: Path, *, episodes: int) -> Store:
    """Record episodes of noise with CALVIN's cameras."""
    draw = np.random.default_rng(0)
    with StoreWriter(folder, Conventions(cameras=SIZES)) as writer:
        for index in range(episodes):
            frames = {name: draw.integers(0, 256, (64, *size), np.uint8) for name, size in SIZES.items()}
            state, action = (draw.uniform(-1, 1, (64, 7)).astype(np.float32) for _ in range(2))
            state[:, -1] = action[:, -1] = 1.0
            writer.add(frames, state, action, instruction=f"push the block {index % 4}", success=True)
    return Store(folder)


def rate(trainer: Trainer, batches: Iterator[TensorDict], *, updates: int, rounds: int) -> float:
    """Return the median windows per second of a few rounds of updates; one round goes before."""
    found = []
    for _ in range(rounds + 1):
        wait(trainer.device)
        start = time.perf_counter()
        for _ in range(updates):
            trainer.update([next(batches)])
        wait(trainer.device)
        found.append(updates * trainer.settings.batch_size / (time.perf_counter() - start))
    return statistics.median(found[1:])


def wait(device: torch.device) -> None:
    """Wait until the device has done everything it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def windows_of(policy: Policy, data: Store) -> Windows:
    """Cut the policy's windows."""
    config = policy.recipe.config
    return Windows(data, steps=config["steps"], chunk=config["chunk"], ahead=policy.ahead, cameras=config["cameras"])


def measure(recipe: str, data: Store, *, quick: bool, updates: int, rounds: int) -> dict[str, float]:
    """Return windows per second from the device and from the disk, the share of waiting, and the peak of memory."""
    policy, device = build(recipe, quick=quick), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = BATCH["quick" if quick else "full"]
    settings = Settings(updates=10**6, batch_size=batch, precision="bf16")
    trainer = Trainer(policy, settings, total=10**6, warmup=1, world=World(device))
    windows = windows_of(policy, data)
    sampler = Sampler(size=len(windows), batch_size=batch, seed=0)
    here = windows.gather(sampler.indices(0)).to(device)
    found = {"resident": rate(trainer, repeat(here), updates=updates, rounds=rounds)}
    with Prefetch(windows, sampler, first=0, last=updates * (rounds + 1), device=device) as batches:
        found["fed"] = rate(trainer, iter(batches), updates=updates, rounds=rounds)
    found["idle"] = max(0.0, 1 - found["fed"] / found["resident"])
    if device.type == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
    return found


def main() -> None:
    """Measure and print the result."""
    given = arguments(__doc__)
    there = torch.cuda.is_available()
    if not there and not given.quick:
        report("train_gpu", value=None, goal=GOALS, ok=None, details="no accelerator")
        return
    updates, rounds = (2, 1) if given.quick else (30, given.rounds or 5)
    with tempfile.TemporaryDirectory() as folder:
        data = store(Path(folder) / "store", episodes=4 if given.quick else 64)
        found = {
            name: measure(name, data, quick=given.quick, updates=updates, rounds=rounds)
            for name in ("seer_calvin", "seer_large_calvin")
        }
    if not there:
        report("train_gpu", value=None, goal=GOALS, ok=None, details="no accelerator")
        return
    ok = all(values["fed"] >= GOALS[name] and values["idle"] <= GOALS["idle"] for name, values in found.items())
    details = {"device": torch.cuda.get_device_name(), **{name: rounded(values) for name, values in found.items()}}
    report("train_gpu", value=round(found["seer_calvin"]["fed"], 1), goal=GOALS, ok=ok, details=details)


if __name__ == "__main__":
    main()
