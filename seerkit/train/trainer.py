"""One update after another: loss, gradient, clip, AdamW, average."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict
from torch import Tensor, distributed, nn

from seerkit.train.blocks import compile_blocks, frozen_image_encoders, recompute_blocks, repeated_blocks
from seerkit.train.ema import Ema
from seerkit.train.parallel import Replicas, World, whole
from seerkit.train.precision import HALF, exact_products, half_weights, resolve
from seerkit.train.schedule import SCHEDULES
from seerkit.train.settings import Settings

if TYPE_CHECKING:
    from seerkit.policy import Policy


class TrainingError(RuntimeError):
    """A run that cannot go on: the loss is not finite, or a checkpoint does not belong to it."""


class Trainer:
    """Hold what changes during training, and change it one update at a time.

    A batch is cut into slices, one per forward pass of each process. Every pass draws its dropout and augmentation from
    torch's generator, freshly seeded with a number made of the run's seed, the update and the slice. So a resumed run
    draws what the uninterrupted one would have drawn, several processes draw what one draws that accumulates as many
    slices, and validation in between changes nothing. Parts that draw from another library's generator are not covered.

    Each loss term is a mean over its valid elements. Slices hold different numbers of them, so each is weighed by its
    share (`Policy.counts`): the gradient is that of the mean over the whole batch, however it is cut. A policy without
    ``counts`` weighs all slices alike.

    Args:
        policy: what to train; moved to the world's device.
        settings: the hyper-parameters.
        total: updates of the whole run.
        warmup: updates of the warm-up.
        world: the processes of the run.

    Attributes:
        done: updates done so far.
        live: trainable parameters by name.
        moving: names of the saved buffers of parts that train, such as running means; the first process's are used.
        ema: averaged weights, ``None`` without averaging.

    Raises:
        TrainingError: the policy has no trainable parameter.
        ValueError: ``precision="official"`` for a policy without a frozen image encoder.
    """

    def __init__(
        self, policy: Policy | nn.Module, settings: Settings, *, total: int, warmup: int, world: World
    ) -> None:
        if not any(parameter.requires_grad for parameter in policy.parameters()):
            raise TrainingError("the policy has no trainable parameter")
        self.policy: Any = policy.to(world.device)
        self.settings, self.total, self.warmup, self.world = settings, total, warmup, world
        self.done = 0
        self.moving = _moving_buffers(policy)
        self._autocast = resolve(settings.precision, world.device) == "bf16"
        self._undo = contextlib.ExitStack()
        self._adapt()
        self.replicas = Replicas(policy, world, parallel=settings.parallel)
        self.live = {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}
        self._parameters = [*self.live.values()]
        self.optimiser = torch.optim.AdamW(
            self._parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
        self.ema = None if settings.ema is None else Ema(policy, decay=settings.ema)
        self._checked = world.size == 1 or self.replicas.sharded

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        return self.world.device

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        schedule = SCHEDULES[self.settings.schedule]
        return self.settings.lr * schedule(self.done, warmup=self.warmup, total=self.total)

    def update(self, batches: Sequence[TensorDict]) -> dict[str, Tensor]:
        """Do one update on ``batches`` (one per forward pass) and return the loss terms and the gradient norm.

        The returned tensors stay on the device, so nothing waits for them. Their mean over the processes is the mean
        over the whole batch.

        Raises:
            TrainingError: the loss has no term, or, with replicas, no part in some trainable parameter.
        """
        self.policy.train()
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        norm = torch.zeros(())
        for micro, (batch, share) in enumerate(zip(batches, self._shares(batches), strict=True)):
            torch.manual_seed(self._draw(micro, of=len(batches)))
            whole_batch = micro == len(batches) - 1
            with self.replicas.averaging(whole_batch or self.settings.clips_each):
                with self.precision():
                    terms = self.replicas.loss(batch)
                terms = {name: value.float() * share[name] for name, value in terms.items()}
                total = sum_terms(terms)
                total.backward()
            for name, value in {**terms, "loss": total}.items():
                sums[name] = sums.get(name, 0) + value.detach()
            if whole_batch or self.settings.clips_each:
                norm = self._clip()
        self._step()
        return {**sums, "grad_norm": norm}

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Run what is inside at the settings' precision."""
        with torch.autocast(self.device.type, HALF, enabled=self._autocast):
            yield

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights inside, if there are any."""
        with contextlib.nullcontext() if self.ema is None else self.ema.applied():
            yield

    def close(self) -> None:
        """Give the policy's parts their own forward pass and precision back."""
        self._undo.close()

    def _adapt(self) -> None:
        """Compile, recompute and lower the precision of the parts the settings say."""
        exact = self.settings.precision in ("fp32", "official")
        self._undo.enter_context(exact_products(self.device) if exact else contextlib.nullcontext())
        encoders = frozen_image_encoders(self.policy)
        if self.settings.precision == "official":
            self._undo.enter_context(half_weights(encoders))
        trunk, heads = (getattr(self.policy, name, None) for name in ("trunk", "heads"))
        if self.settings.compile:
            self._undo.callback(compile_blocks(repeated_blocks(trunk, *encoders)))
        if self.settings.checkpoint_blocks:
            self._undo.callback(recompute_blocks(repeated_blocks(trunk, heads)))

    def _draw(self, micro: int, *, of: int) -> int:
        """Return the seed of one slice of this update's batch: another for each pass of each process."""
        return _number(self.settings.seed, (self.done * of + micro) * self.world.size + self.world.rank)

    def _shares(self, batches: Sequence[TensorDict]) -> list[Mapping[str, Any]]:
        """Return for each pass the weight of every term, such that gradients averaged over the processes are exact."""
        if len(batches) * self.world.size == 1 or not hasattr(self.policy, "counts"):
            return [_Alike(1 / len(batches))] * len(batches)
        counts = [self.policy.counts(batch) for batch in batches]
        device = self.device
        here = torch.stack([torch.stack([one.to(device) for one in count.values()]).float() for count in counts])
        everywhere = self.world.sum(here.sum(dim=0)).clamp(min=1)
        return [dict(zip(counts[0], row, strict=True)) for row in here * self.world.size / everywhere]

    def _clip(self) -> Tensor:
        limit = self.settings.clip if self.settings.clip is not None else float("inf")
        return whole(nn.utils.clip_grad_norm_(self._parameters, limit))

    def _step(self) -> None:
        self._check_reached()
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr
        self.optimiser.step()
        if self.world.size > 1:
            for name in self.moving:
                distributed.broadcast(self.policy.get_buffer(name), src=0)
        if self.ema is not None:
            self.ema.update(self.done)
        self.done += 1

    def _check_reached(self) -> None:
        """Make sure, once, that replicas average all gradients: they would wait for those that never come."""
        if self._checked:
            return
        self._checked = True
        missed = [name for name, parameter in self.live.items() if parameter.grad is None]
        if missed:
            raise TrainingError(
                f"{len(missed)} trainable parameters have no part in the loss, such as {missed[:5]}; freeze them "
                "(requires_grad_(False)), or say train.parallel=fsdp"
            )


class _Alike(dict[str, float]):
    """The same weight for every term."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self._weight = weight

    def __missing__(self, name: str) -> float:
        return self._weight


def sum_terms(terms: Mapping[str, Any]) -> Tensor:
    """Add a loss's terms up.

    Raises:
        TrainingError: there is none.
    """
    if not terms:
        raise TrainingError("the policy's loss has no term")
    return torch.stack([value.float() for value in terms.values()]).sum()


def _moving_buffers(policy: nn.Module) -> list[str]:
    """Name the saved buffers of all parts that training puts into training mode; frozen ones stay out of it."""
    return [
        f"{place}.{name}" if place else name
        for place, module in policy.train().named_modules()
        if module.training
        for name, _ in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    ]


def _number(seed: int, count: int) -> int:
    """Mix two numbers into one seed; another seed or count gives an unrelated one."""
    digest = hashlib.blake2b(f"{seed}/{count}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
