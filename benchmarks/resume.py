"""Is a run that was killed again and again the run that was not? And are several processes one?

Every run trains a tiny Seer with all that has a state or draws: history, dropout, random shift, words, accumulation,
clipping, averaged weights, validation, episodes shorter than a window. It is done alone, by two processes with whole
copies (DDP) and by two that split the weights (FSDP2), on CPUs through gloo:

- killed with SIGKILL at random moments and resumed each time, it must end with the same weights, moments and average,
  bit for bit, as uninterrupted;
- stopped half-way and continued by another number of processes, it must end with the same numbers up to rounding;
- without dropout, two processes must learn what one learns from the same batches, up to rounding.

Nothing but the last line goes to stdout: the result as JSON. Processes are forked from one that has imported torch
and used nothing of it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from seerkit.data.store import Conventions
from seerkit.data.writer import StoreWriter
from seerkit.policy import Policy, build_policy
from seerkit.train.loop import train
from seerkit.train.settings import Settings

FORK = multiprocessing.get_context("fork")
MODES = {"single": (1, "ddp"), "ddp": (2, "ddp"), "fsdp": (2, "fsdp")}
CAMERAS = ("primary", "wrist")
TRAIN = {
    "lr": 1e-3,
    "batch_size": 8,
    "micro_batch": 2,
    "updates": 24,
    "warmup": 3,
    "clip": 0.5,
    "ema": 0.9,
    "holdout": 0.2,
    "validate_every": 12,
    "validation_windows": 16,
    "log_every": 1,
    "save_every": 4,
    "seed": 1,
}


def tiny_policy(*overrides: str) -> Policy:
    """Build the smallest Seer that has everything; two trunk blocks, so that there is something to split."""
    torch.manual_seed(0)
    small = ["dim=16", "steps=3", "image_size=16", "trunk.depth=2", "trunk.heads=2", "trunk.dropout=0.1"]
    small += ["layout.context.image=8", "encoders.image.module.resample.wrist.side=2"]
    small += [f"encoders.image.module.{size}" for size in ("width=16", "vit.width=16", "vit.heads=2")]
    return build_policy("seer_tabletop", *small, *(f"pixels.{name}.shift=2" for name in CAMERAS), *overrides)


def write_store(path: Path) -> None:
    """Write episodes of 1 to 8 steps, some shorter than the history, in which a word decides the motion."""
    draw = torch.Generator().manual_seed(5)
    with StoreWriter(path, Conventions(cameras=dict.fromkeys(CAMERAS, (3, 20, 20)))) as writer:
        for number in range(16):
            length, word = 1 + number % 8, number % 2
            size = (length, 3, 20, 20)
            images = {name: torch.randint(0, 256, size, generator=draw, dtype=torch.uint8) for name in CAMERAS}
            state = torch.randn(length, 7, generator=draw)
            action = torch.full((length, 7), 0.8 if word else -0.8)
            action[:, 6] = action[:, 6].sign()
            writer.add(images, state, action, instruction=("left", "right")[word], seed=number)


def run(store: Path, out: Path, parallel: str, overrides: Sequence[str], changes: dict[str, Any]) -> None:
    """Begin or resume a training in this process, which may be one of several."""
    policy = tiny_policy(*overrides)
    settings = Settings.read({**policy.recipe.config["train"], **TRAIN}, {"parallel": parallel, **changes})
    train(policy, store, out, settings=settings, resume=True, device="cpu", progress=False)


def start(work: Callable[..., None], *arguments: object, processes: int = 1) -> list[BaseProcess]:
    """Fork processes that find each other as torchrun's do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}

    def begin(rank: int) -> None:
        os.environ.update({name: str(value) for name, value in {**place, "RANK": rank, "LOCAL_RANK": rank}.items()})
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        work(*arguments)

    forked = [FORK.Process(target=begin, args=(rank,)) for rank in range(processes)]
    for process in forked:
        process.start()
    return forked


def finish(forked: list[BaseProcess]) -> None:
    """Wait for processes to end well."""
    for process in forked:
        process.join()
    if any(process.exitcode for process in forked):
        raise RuntimeError(f"a process failed: exit codes {[process.exitcode for process in forked]}")


def updates_of(out: Path) -> int:
    """Return how many updates a run's log tells of."""
    log = out / "metrics.jsonl"
    return json.loads(lines[-1])["step"] if log.exists() and (lines := log.read_text().splitlines()[:-1]) else 0


def kill_at_random(forked: list[BaseProcess], out: Path, chance: random.Random) -> bool:
    """Kill all processes a few updates on, in any order; say whether they were still at work."""
    until = updates_of(out) + chance.randrange(1, 4)
    while updates_of(out) < until and all(process.is_alive() for process in forked):
        time.sleep(0.002)
    time.sleep(chance.random() * 0.1)
    chance.shuffle(forked)
    working = all(process.is_alive() for process in forked)
    for process in forked:
        process.kill()
    for process in forked:
        process.join()
    return working and all(process.exitcode == -signal.SIGKILL for process in forked)


def read_state(out: Path) -> dict[str, Tensor]:
    """Read the last training state whole."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.pt"
        dcp_to_torch_save(out / "checkpoints" / "last" / "training_state", file)
        return torch.load(file, weights_only=True)


def compare(one: Path, other: Path) -> dict[str, Any]:
    """Compare two runs' last states: equal to the last bit? Else by how much do the weights differ, relatively?

    The biases of attention keys are left out of the second: softmax does not see them, so their gradient is 0 and what
    AdamW makes of its rounding is noise of the size of the learning rate.
    """
    first, second = read_state(one), read_state(other)
    equal = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    weights = [name for name in first if name.startswith("model/") and first[name].is_floating_point()]
    pairs = {name: (_seen(name, first[name].double()), _seen(name, second[name].double())) for name in weights}
    far = {name: float((a - b).norm() / a.norm()) for name, (a, b) in pairs.items()}
    return {"equal": equal, "tensors": len(first), "worst": max(far.values()), "where": max(far, key=lambda n: far[n])}


def _seen(name: str, weight: Tensor) -> Tensor:
    if not name.endswith("qkv.bias"):
        return weight
    query, _, value = weight.chunk(3)
    return torch.cat([query, value])


def asked(work: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - whatever the work returns
    """Do something with torch in a process of its own."""
    inner, outer = FORK.Pipe()
    forked = start(lambda: outer.send(work(*arguments)))
    answer = inner.recv()
    finish(forked)
    return answer


def killed_runs(folder: Path, store: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Compare, for each mode, the run that was killed with the one that was not."""
    found = {}
    for mode, (processes, parallel) in MODES.items():
        chance = random.Random(f"{seed}/{mode}")
        whole, broken = folder / mode, folder / f"{mode}-killed"
        finish(start(run, store, whole, parallel, (), {}, processes=processes))
        done = 0
        for _ in range(kills):
            forked = start(run, store, broken, parallel, (), {}, processes=processes)
            done += kill_at_random(forked, broken, chance)
        finish(start(run, store, broken, parallel, (), {}, processes=processes))
        found[mode] = {**asked(compare, whole, broken), "kills": done}
        print(mode, found[mode], file=sys.stderr)
    return found


def continued_by_others(folder: Path, store: Path) -> dict[str, Any]:
    """Stop half-way, go on with another number of processes, and compare with the run of one process."""
    found = {}
    for first, then in (("fsdp", "single"), ("ddp", "single"), ("single", "fsdp")):
        out = folder / f"{first}-{then}"
        processes, parallel = MODES[first]
        forked = start(run, store, out, parallel, (), {}, processes=processes)
        while updates_of(out) < TRAIN["updates"] // 2:
            time.sleep(0.002)
        os.kill(forked[-1].pid or 0, signal.SIGTERM)  # one is asked, all stop
        finish(forked)
        stopped = (out / "checkpoints" / "last").resolve().name
        processes, parallel = MODES[then]
        finish(start(run, store, out, parallel, (), {}, processes=processes))
        found[f"{first} to {then}"] = {**asked(compare, folder / "single", out), "stopped": int(stopped)}
        print(found, file=sys.stderr)
    return found


def learned_together(folder: Path, store: Path) -> dict[str, Any]:
    """Compare 20 updates of two processes with those of one, the batch whole, without dropout.

    FSDP2 computes its blocks again in the backward pass, so that this is seen to go together.
    """
    quiet = ["trunk.dropout=0", *(f"pixels.{name}.shift=0" for name in CAMERAS)]
    changes: dict[str, Any] = {"updates": 20, "micro_batch": None}
    for mode, (processes, parallel) in MODES.items():
        own = {**changes, "checkpoint_blocks": mode == "fsdp"}
        finish(start(run, store, folder / f"{mode}-quiet", parallel, quiet, own, processes=processes))
    alone = folder / "single-quiet"
    return {mode: asked(compare, alone, folder / f"{mode}-quiet") for mode in ("ddp", "fsdp")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="per mode")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    began = time.perf_counter()
    TRAIN["updates"] = max(TRAIN["updates"], 6 * given.kills)  # long enough to be killed so often
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "store"
        finish(start(write_store, store))
        killed = killed_runs(folder, store, kills=given.kills, seed=given.seed)
        others, together = continued_by_others(folder, store), learned_together(folder, store)
    far = max(row["worst"] for row in together.values())
    result = {
        "name": "resume",
        "value": far,
        "goal": "killed runs equal bit for bit; two processes within 1e-6 of one after 20 updates",
        "ok": all(row["equal"] and row["kills"] for row in killed.values()) and far <= 1e-6,
        "details": {"killed": killed, "continued by others": others, "together": together},
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
