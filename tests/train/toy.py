"""A toy policy with the face of the real one, a toy store, and a script that trains the one on the other.

Run as ``python tests/train/toy.py STORE OUT [--real] [--kill-loss N | --kill-save N] [--ema DECAY]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from seerkit import keys
from seerkit.camera.shift import random_shift
from seerkit.data.store import Conventions, Store
from seerkit.data.writer import StoreWriter
from seerkit.policy import Policy, build_policy
from seerkit.train.loop import Result, train
from seerkit.train.settings import Settings

WORDS = ("left", "right")
TRAIN = {
    "lr": 1e-2,
    "batch_size": 8,
    "updates": 12,
    "warmup": 3,
    "clip": 1.0,
    "log_every": 2,
    "save_every": 4,
    "seed": 1,
}


@dataclasses.dataclass
class ToyRecipe:
    config: dict[str, Any]
    name: str = "toy"


class ToyPolicy(nn.Module):
    """Predict chunks from pixels, state and a word, and the future frame from the present one."""

    pictures = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        shape = {"steps": 2, "chunk": 3, "heads": {"foresight": {"ahead": 2}}, "cameras": ["primary"]}
        self.recipe = ToyRecipe(config={**shape, "train": dict(TRAIN)})
        self.body = nn.Sequential(nn.Linear(3 * 8 * 8 + 7 + 2, 32), nn.ReLU(), nn.Dropout(0.1))
        self.arm, self.gripper = nn.Linear(32, 3 * 6), nn.Linear(32, 3)
        self.future = nn.Linear(32, 3 * 8 * 8)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.calls = 0
        self.at_loss: dict[int, Any] = {}
        self.at_save: dict[int, Any] = {}
        self.saves = 0

    def hidden(self, td: TensorDict) -> Tensor:
        image = td[(*keys.IMAGE, "primary")].float() / 255
        if self.training:
            image = random_shift(image, 1)
        word = torch.tensor([[text == name for name in WORDS] for text in td.get(keys.INSTRUCTION).tolist()]).float()
        word = word[:, None].expand(-1, image.shape[1], -1)
        return self.body(torch.cat([image.flatten(2), td[keys.STATE], word], dim=-1))

    def loss(self, td: TensorDict) -> TensorDict:
        if self.training:
            self.calls += 1
            self.at_loss.get(self.calls, lambda: None)()
            self.seen += 1
        hidden = self.hidden(td)
        valid = ~td[keys.ACTION_IS_PAD]
        target = td[keys.TARGET_CHUNK]
        arm = (self.arm(hidden).unflatten(-1, (3, 6)).tanh() - target[..., :6]).square()[valid].mean()
        logit = self.gripper(hidden)
        grip = nn.functional.binary_cross_entropy_with_logits(logit[valid], (target[..., 6][valid] + 1) / 2)
        frames = torch.cat([td[(*keys.IMAGE, "primary")], td[(*keys.FUTURE, "primary")]], dim=1)[:, 2:].float() / 255
        error = (self.future(hidden) - frames.flatten(2)).square().mean(-1)
        sight = error[~td[keys.FUTURE_IS_PAD]].mean()
        terms = {"loss_arm": arm, "loss_gripper": 0.01 * grip, "loss_foresight": 0.1 * sight}
        return TensorDict(terms, batch_size=[])

    def counts(self, td: TensorDict) -> dict[str, Tensor]:
        actions, frames = (~td[keys.ACTION_IS_PAD]).sum(), (~td[keys.FUTURE_IS_PAD]).sum()
        return {"loss_arm": actions, "loss_gripper": actions, "loss_foresight": frames}

    def foresee(self, td: TensorDict) -> dict[str, Tensor]:
        levels = (self.future(self.hidden(td)) * 255).clamp(0, 255).byte()
        return {"primary": levels.unflatten(-1, (3, 8, 8))}

    def save_pretrained(self, path: str | Path) -> Path:
        self.saves += 1
        (Path(path) / "half").write_text("written")
        self.at_save.get(self.saves, lambda: None)()
        torch.save(self.state_dict(), Path(path) / "toy.pt")
        (Path(path) / "half").unlink()
        return Path(path)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> ToyPolicy:
        policy = cls()
        policy.load_state_dict(torch.load(Path(path) / "toy.pt"))
        return policy


def real_policy(*overrides: str) -> Policy:
    """Build the smallest Seer that has everything: history, dropout, random shift, foresight, words."""
    torch.manual_seed(0)
    small = ["dim=16", "steps=2", "image_size=16", "trunk.depth=1", "trunk.heads=2", "trunk.dropout=0.1"]
    small += ["layout.context.image=8", "encoders.image.module.resample.wrist.side=2"]
    narrow = [f"encoders.image.module.{size}" for size in ("width=16", "vit.width=16", "vit.heads=2")]
    shift = [f"pixels.{camera}.shift=2" for camera in ("primary", "wrist")]
    return build_policy("seer_tabletop", *small, *narrow, *shift, *overrides)


def toy_store(
    path: Path, *, episodes: int = 6, cameras: tuple[str, ...] = ("primary",), side: int = 8, seed: int = 5
) -> Store:
    """Write episodes in which the word decides the direction of motion."""
    random = torch.Generator().manual_seed(seed)
    with StoreWriter(path, Conventions(cameras=dict.fromkeys(cameras, (3, side, side)))) as writer:
        for number in range(episodes):
            length = 5 + number % 4
            word = number % 2
            shape = (length, 3, side, side)
            images = {name: torch.randint(0, 256, shape, generator=random, dtype=torch.uint8) for name in cameras}
            state = torch.randn(length, 7, generator=random)
            action = torch.full((length, 7), 0.8 if word else -0.8)
            action[:, 6] = action[:, 6].sign()
            writer.add(images, state, action, instruction=WORDS[word], seed=number)
    return Store(path)


def run(
    store: Store | Path, out: Path, policy: ToyPolicy | Policy, *, resume: bool = False, **changes: object
) -> Result:
    settings = Settings.read({**policy.recipe.config["train"], **TRAIN}, changes)
    return train(policy, store, out, settings=settings, resume=resume, device="cpu", progress=False)


def die(after: Path | None = None) -> None:
    """End this process; checkpoints are written in the background, so wait for one if it must be there."""
    while after is not None and (after.parent / "last").resolve() != after.resolve():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def saved_state(checkpoint: Path) -> dict[str, Tensor]:
    """Read a training state whole, whoever wrote it, by torch's own conversion."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp_to_torch_save(checkpoint / "training_state", Path(folder) / "state.pt")
        return torch.load(Path(folder) / "state.pt", weights_only=True)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def killing(
    loss: Callable[[TensorDict], TensorDict], call: int, *, after: Path | None
) -> Callable[[TensorDict], TensorDict]:
    """Wrap a loss so that its call number ``call`` ends the process."""
    calls = itertools.count(1)

    def wrapped(td: TensorDict) -> TensorDict:
        if next(calls) == call:
            die(after=after)
        return loss(td)

    return wrapped


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-loss", type=int, default=0)
    parser.add_argument("--kill-save", type=int, default=0)
    parser.add_argument("--after", default="", help="checkpoint to wait for before --kill-loss")
    parser.add_argument("--ema", type=float, default=None)
    parser.add_argument("--micro", type=int, default=None)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = given.out / "checkpoints" / given.after if given.after else None
    if given.real:
        policy = real_policy()
        policy.loss = killing(policy.loss, given.kill_loss, after=checkpoint)
        run(given.store, given.out, policy, resume=True)
        return
    policy = ToyPolicy()
    policy.at_loss = {given.kill_loss: lambda: die(after=checkpoint)}
    policy.at_save = {given.kill_save: die}
    run(given.store, given.out, policy, resume=True, ema=given.ema, micro_batch=given.micro)


if __name__ == "__main__":
    main()
