"""One update after another: loss, gradient, clip, AdamW, average."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from seerkit.train.ema import Ema
from seerkit.train.schedule import SCHEDULES
from seerkit.train.settings import Settings

if TYPE_CHECKING:
    from seerkit.policy import Policy


class TrainingError(RuntimeError):
    """A run that cannot go on: the loss is not finite, or a checkpoint does not belong to it."""


class Trainer:
    """Hold what changes during training, and change it one update at a time.

    Every forward pass draws its dropout and augmentation from torch's generator, freshly seeded with a number made of
    the run's seed and the pass's count. So a resumed run draws what the uninterrupted one would have drawn, and
    validation in between changes nothing. Parts that draw from another library's generator are not covered.

    Args:
        policy: what to train; moved to ``device``.
        settings: the hyper-parameters.
        total: updates of the whole run.
        warmup: updates of the warm-up.
        device: where to train.

    Attributes:
        done: updates done so far.
        ema: averaged weights, ``None`` without averaging.

    Raises:
        TrainingError: the policy has no trainable parameter.
    """

    def __init__(
        self, policy: Policy | nn.Module, settings: Settings, *, total: int, warmup: int, device: torch.device
    ) -> None:
        self.policy: Any = policy.to(device)
        self.settings, self.total, self.warmup, self.device = settings, total, warmup, device
        self.done = 0
        self.parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        if not self.parameters:
            raise TrainingError("the policy has no trainable parameter")
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
        self.ema = None if settings.ema is None else Ema(policy, decay=settings.ema)

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        schedule = SCHEDULES[self.settings.schedule]
        return self.settings.lr * schedule(self.done, warmup=self.warmup, total=self.total)

    @functools.cached_property
    def frozen(self) -> int:
        """Checksum of the parameters that are not trained, and so not part of the saved state."""
        return _fingerprint(self.policy)

    def update(self, batches: Sequence[TensorDict]) -> dict[str, Tensor]:
        """Do one update on ``batches`` (one per forward pass) and return the loss terms and the gradient norm.

        The returned tensors stay on the device, so nothing waits for it.
        """
        self.policy.train()
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        norm = torch.zeros(())
        for micro, batch in enumerate(batches):
            torch.manual_seed(_number(self.settings.seed, self.done * len(batches) + micro))
            with self.precision():
                terms = self.policy.loss(batch)
            total = sum_terms(terms)
            (total / len(batches)).backward()
            for name, value in {**dict(terms.items()), "loss": total}.items():
                sums[name] = sums.get(name, 0) + value.detach().float() / len(batches)
            if self.settings.clip_each or micro == len(batches) - 1:
                norm = self._clip()
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr
        self.optimiser.step()
        if self.ema is not None:
            self.ema.update(self.done)
        self.done += 1
        return {**sums, "grad_norm": norm}

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Run what is inside at the settings' precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            yield

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights inside, if there are any."""
        with contextlib.nullcontext() if self.ema is None else self.ema.applied():
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs besides the policy's recipe and its frozen parameters."""
        frozen = {name for name, parameter in self.policy.named_parameters() if not parameter.requires_grad}
        model = {name: tensor for name, tensor in self.policy.state_dict().items() if name not in frozen}
        return {
            "done": self.done,
            "total": self.total,
            "settings": dataclasses.asdict(self.settings),
            "model": model,
            "optimiser": self.optimiser.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "frozen": self.frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken.

        Raises:
            TrainingError: the settings, the policy or its frozen weights are not those of the saved run.
        """
        self._check(state)
        self.policy.load_state_dict(state["model"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.done = state["done"]

    def _clip(self) -> Tensor:
        limit = self.settings.clip if self.settings.clip is not None else float("inf")
        return nn.utils.clip_grad_norm_(self.parameters, limit)

    def _check(self, state: dict[str, Any]) -> None:
        mine, saved = dataclasses.asdict(self.settings), state["settings"]
        free = {"save_every", "log_every", "keep", "validate_every", "validation_windows"}
        differ = [name for name in mine if name not in free and mine[name] != saved.get(name)]
        if differ:
            table = "; ".join(f"{name}: saved {saved.get(name)}, given {mine[name]}" for name in differ)
            raise TrainingError(f"the run was started with other settings: {table}")
        if state["total"] != self.total:
            raise TrainingError(f"the run was planned for {state['total']} updates; with this data it has {self.total}")
        own = {name: tuple(tensor.shape) for name, tensor in self.state_dict()["model"].items()}
        given = {name: tuple(tensor.shape) for name, tensor in state["model"].items()}
        if own != given:
            names = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
            table = "; ".join(f"{name}: saved {given.get(name)}, given {own.get(name)}" for name in names[:5])
            raise TrainingError(f"the run was started with another policy ({len(names)} tensors differ): {table}")
        if state["frozen"] != self.frozen:
            raise TrainingError("the frozen parameters are not those the run was started with")


def sum_terms(terms: TensorDict) -> Tensor:
    """Add a loss's terms up.

    Raises:
        TrainingError: there is none.
    """
    values: list[Any] = list(terms.values())
    if not values:
        raise TrainingError("the policy's loss has no term")
    return torch.stack([value.float() for value in values]).sum()


def _number(seed: int, count: int) -> int:
    """Mix two numbers into one seed; another seed or count gives an unrelated one."""
    digest = hashlib.blake2b(f"{seed}/{count}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _fingerprint(module: nn.Module) -> int:
    """Return a checksum of all frozen parameters."""
    total = 0
    for parameter in module.parameters():
        if not parameter.requires_grad:
            content = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
            total = zlib.crc32(content.numpy().data, total)
    return total
