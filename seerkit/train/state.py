"""What a resumed run needs: which tensors, whether they belong to it, and a copy of the policy to write from."""

from __future__ import annotations

import copy
import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seerkit.train.parallel import whole
from seerkit.train.trainer import Trainer, TrainingError

FREE = {
    "save_every",
    "log_every",
    "keep",
    "validate_every",
    "validation_windows",
    "wandb",
    "parallel",
    "compile",
    "checkpoint_blocks",
    "micro_batch",
}
"""Settings a resumed run may change: they decide how it is computed and told, not what is learned."""

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Spare:
    """Keep a second policy in main memory, from which a checkpoint is written while training goes on.

    Args:
        policy: copied as it is, before it is sharded or lowered in precision.
        kept: whether this process keeps the copy; the others only help to put it together.

    Attributes:
        frozen: checksum of the parameters that are not trained, and so not part of the saved state.
    """

    def __init__(self, policy: nn.Module, *, kept: bool) -> None:
        self.frozen = _fingerprint(policy)
        self.policy: Any = None
        if kept:
            frozen = [parameter for parameter in policy.parameters() if not parameter.requires_grad]
            shared = {id(parameter): nn.Parameter(parameter.detach(), requires_grad=False) for parameter in frozen}
            self.policy = copy.deepcopy(policy, shared).to("cpu")

    def refresh(self, trainer: Trainer) -> None:
        """Take over the trainer's weights, averaged if it averages; every process must call it.

        Where the weights are split among processes, they are put together.
        """
        mean = {} if trainer.ema is None else trainer.ema.state_dict()
        own = None if self.policy is None else self.policy.state_dict()
        for name, tensor in _changing(trainer).items():
            value = whole(mean.get(name, tensor))
            if own is not None:
                own[name].copy_(value)


def tensors(trainer: Trainer) -> dict[str, Tensor]:
    """Return every tensor a resumed run needs besides the frozen ones, by name; they are the trainer's own."""
    state = {f"model/{name}": tensor for name, tensor in _changing(trainer).items()}
    for name, parameter in trainer.live.items():
        state |= {f"optimiser/{key}/{name}": value for key, value in trainer.optimiser.state[parameter].items()}
    if trainer.ema is not None:
        state |= {f"ema/{name}": value for name, value in trainer.ema.state_dict().items()}
    return state


def place_for(trainer: Trainer, saved: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return the trainer's tensors into which a saved state is to be copied; AdamW's moments are made for it.

    Args:
        trainer: what is to go on.
        saved: the shape of every saved tensor by its name in `tensors`.

    Raises:
        TrainingError: the state is another policy's.
    """
    for name, parameter in trainer.live.items():
        trainer.optimiser.state[parameter] = {
            key: torch.zeros((), device=parameter.device) if key == "step" else torch.zeros_like(parameter.detach())
            for key in _MOMENTS
            if f"optimiser/{key}/{name}" in saved
        }
    own = tensors(trainer)
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    differ = sorted(name for name in saved.keys() | shapes.keys() if shapes.get(name) != saved.get(name))
    if differ:
        names = [name for name in differ if name.startswith("model/")] or differ
        rows = [f"{name.removeprefix('model/')}: saved {saved.get(name)}, given {shapes.get(name)}" for name in names]
        raise TrainingError(
            f"the run was started with another policy ({len(rows)} tensors differ): {'; '.join(rows[:5])}"
        )
    return own


def check_same_run(trainer: Trainer, saved: Mapping[str, Any], *, frozen: int) -> None:
    """Make sure that a saved run, as its summary describes it, is this one.

    Raises:
        TrainingError: the settings, the length or the frozen weights are others.
    """
    mine: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(trainer.settings)))
    before: dict[str, Any] = saved["settings"]
    free = FREE - {"micro_batch"} if trainer.settings.clips_each else FREE
    differ = [name for name in mine if name not in free and mine[name] != before.get(name)]
    if differ:
        table = "; ".join(f"{name}: saved {before.get(name)}, given {mine[name]}" for name in differ)
        raise TrainingError(f"the run was started with other settings: {table}")
    if saved["total"] != trainer.total:
        planned = saved["total"]
        raise TrainingError(f"the run was planned for {planned} updates; with this data it has {trainer.total}")
    if saved["frozen"] != frozen:
        raise TrainingError("the frozen parameters are not those the run was started with")


def _changing(trainer: Trainer) -> dict[str, Tensor]:
    """Return what training changes in the policy, by name."""
    weights = {name: parameter.detach() for name, parameter in trainer.live.items()}
    return weights | {name: trainer.policy.get_buffer(name) for name in trainer.moving}


def _fingerprint(module: nn.Module) -> int:
    """Return a checksum of all frozen parameters."""
    total = 0
    for parameter in module.parameters():
        if not parameter.requires_grad:
            content = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
            total = zlib.crc32(content.numpy().data, total)
    return total
