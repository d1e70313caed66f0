"""What does the engine cost? A run of `seerkit.train` against the barest PyTorch loop that does the same updates.

Both train the same small Seer on the same windows: bare, that is gather, loss, backward, clip, fused AdamW and nothing
else, in one thread; the engine adds its prefetch, seeds, log, bar, stop request and settings. Checkpoints are left out
(they are written in the background, once per tenth of a run). CPU time of the process, in turns, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seerkit.data.sampler import Sampler
from seerkit.data.store import Conventions, Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from seerkit.policy import Policy, build_policy
from seerkit.recipe import foresight_ahead
from seerkit.train.loop import train
from seerkit.train.settings import Settings

CAMERAS = ("primary", "wrist")


def write_store(path: Path, *, side: int) -> Store:
    """Write a few episodes of noise."""
    draw = torch.Generator().manual_seed(0)
    with StoreWriter(path, Conventions(cameras=dict.fromkeys(CAMERAS, (3, side, side)))) as writer:
        for number in range(8):
            images = {n: torch.randint(0, 256, (40, 3, side, side), generator=draw, dtype=torch.uint8) for n in CAMERAS}
            state, action = torch.randn(40, 7, generator=draw), torch.rand(40, 7, generator=draw) * 2 - 1
            writer.add(images, state, action, instruction="reach", seed=number)
    return Store(path)


def bare(policy: Policy, store: Store, settings: Settings) -> None:
    """Train as little more than PyTorch's tutorial does."""
    config: dict[str, Any] = policy.recipe.config
    cut = {"steps": config["steps"], "chunk": config["chunk"], "ahead": foresight_ahead(config)}
    windows = Windows(store, **cut, cameras=CAMERAS)
    sampler = Sampler(size=len(windows), batch_size=settings.batch_size, seed=settings.seed)
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    policy.train()
    for step in range(settings.updates or 0):
        optimiser.zero_grad(set_to_none=True)
        terms = policy.loss(windows.gather(sampler.indices(step)))
        torch.stack([*terms.values()]).sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"bare": [], "engine": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = write_store(folder / "store", side=64)
        for turn in range(given.rounds + 1):
            for kind in seconds:
                lengths = [time_of(kind, store, folder / f"{kind}{turn}-{n}", n) for n in (5, 5 + given.updates)]
                if turn:
                    seconds[kind].append((lengths[1] - lengths[0]) / given.updates)
    per_update = {kind: statistics.median(values) for kind, values in seconds.items()}
    ratio = per_update["engine"] / per_update["bare"]
    details = {"ms per update": {kind: round(1000 * value, 2) for kind, value in per_update.items()}, "rounds": seconds}
    print(json.dumps({"name": "loop", "ratio": ratio, "goal": "<= 1.03", "ok": ratio <= 1.03, "details": details}))


def time_of(kind: str, store: Store, out: Path, updates: int) -> float:
    """Return the CPU seconds of a whole run; the difference of two lengths leaves beginning and end out."""
    torch.manual_seed(0)
    policy = build_policy("seer_tabletop", "train.batch_size=16")
    whole = {"batch_size": 16, "lr": 1e-3, "clip": 1.0, "warmup": 0, "save_every": 10**6, "precision": "fp32"}
    settings = Settings(updates=updates, **whole)  # pyright: ignore[reportArgumentType]
    start = time.process_time()
    if kind == "bare":
        bare(policy, store, settings)
    else:
        train(policy, store, out, settings=settings, device="cpu", progress=False)
    return time.process_time() - start


if __name__ == "__main__":
    main()
