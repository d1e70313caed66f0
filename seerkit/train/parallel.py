"""One run on several processes: who takes part, who holds what, and how they agree."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from seerkit.train.blocks import repeated_blocks

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` tells each process."""


class ParallelError(RuntimeError):
    """The processes of a run were not started as they should have been."""


@dataclasses.dataclass(frozen=True)
class World:
    """Say which process this is, among how many, and where it computes.

    Args:
        device: where to train.
        rank: number of this process, from 0.
        size: number of processes, over all nodes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, logs and draws."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: object) -> list[Any]:
        """Return what every process gave, in the order of their ranks."""
        if self.size == 1:
            return [value]
        gathered: list[Any] = [None] * self.size
        distributed.all_gather_object(gathered, value)
        return gathered

    def meet(self) -> None:
        """Wait until every process has come this far."""
        if self.size > 1:
            self.gather(None)


def is_first() -> bool:
    """Say whether this process speaks for all, before (or without) `join`."""
    return int(os.environ.get("RANK") or 0) == 0


def join(wanted: str | torch.device | None = None) -> World:
    """Take the place that ``torchrun`` (or whoever set the same variables) gave this process; alone without.

    Processes talk through NCCL on GPUs, one GPU each, and through gloo on CPUs. The connection stays open for the next
    run of the same process; see `leave`.

    Args:
        wanted: where to train; an accelerator if there is one.

    Raises:
        ParallelError: the variables contradict each other, or there are fewer GPUs than processes.
    """
    place = _place()
    device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place is None:
        return World(device)
    rank, size, local = place
    if device.type == "cuda":
        if device.index is not None:
            raise ParallelError(f"every process has a GPU of its own: expected device 'cuda' or 'cpu', got {device}")
        if local >= torch.cuda.device_count():
            here = torch.cuda.device_count()
            raise ParallelError(f"process {rank} is number {local} on this node, which has {here} GPUs; start fewer")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return World(device, rank, size)


def leave() -> None:
    """Close the connection between the processes, if there is one, once all of them are done."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _place() -> tuple[int, int, int] | None:
    """Read this process's rank, the number of processes and its number on this node; ``None`` if it is alone."""
    given = {name: os.environ[name] for name in PLACE if os.environ.get(name)}
    if given.get("WORLD_SIZE", "1") == "1" and given.get("RANK", "0") == "0":
        return None
    if missing := [name for name in PLACE if name not in given]:
        raise ParallelError(
            f"expected the variables {PLACE}, as torchrun sets them; {missing} are not set, got {given}"
        )
    try:
        rank, size, local = (int(given[name]) for name in PLACE[:3])
    except ValueError as error:
        raise ParallelError(f"RANK, WORLD_SIZE and LOCAL_RANK are whole numbers, got {given}") from error
    if not 0 <= local <= rank < size:
        raise ParallelError(f"expected 0 <= LOCAL_RANK <= RANK < WORLD_SIZE, got {given}")
    return rank, size, local


class _Objective(nn.Module):
    """A policy's loss as a module's forward pass, which is what DDP wraps."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy: Any = policy

    def forward(self, batch: TensorDictBase) -> dict[str, Tensor]:
        return dict(self.policy.loss(batch).items())


class Replicas:
    """Spread a policy over the processes of a run, so that gradients are means over all of them.

    ``"ddp"`` keeps a whole policy on each and averages gradients while the last backward pass of an update runs.
    ``"fsdp"`` (FSDP2) splits trainable parameters, gradients, AdamW's moments and averaged weights among them, each
    repeated block (see `repeated_blocks`) as one unit and the rest as another. Frozen parameters stay whole: they have
    neither gradients nor moments, and gathering them at every pass would cost more than it saves.

    Every process begins with the weights of the first.

    Args:
        policy: changed in place.
        world: the processes; with one, nothing is spread.
        parallel: ``"ddp"`` or ``"fsdp"``.
    """

    def __init__(self, policy: nn.Module, world: World, *, parallel: Literal["ddp", "fsdp"]) -> None:
        self._objective: nn.Module = _Objective(policy)
        if world.size == 1:
            return
        for tensor in (*policy.parameters(), *policy.buffers()):
            distributed.broadcast(tensor.detach(), src=0)
        if parallel == "fsdp":
            self._objective = _shard(self._objective, world)
        else:
            self._objective = DistributedDataParallel(
                self._objective, init_sync=False, forward_sync_buffers=False, gradient_as_bucket_view=True
            )

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the trainable parameters only."""
        return isinstance(self._objective, FSDPModule)

    def loss(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """Return the policy's loss terms on this process's batch."""
        return self._objective(batch)

    @contextlib.contextmanager
    def averaging(self, wanted: bool) -> Iterator[None]:
        """Average gradients over the processes in the backward passes inside, or only add them up here."""
        with contextlib.ExitStack() as stack:
            if isinstance(self._objective, FSDPModule):
                self._objective.set_requires_gradient_sync(wanted)
            elif isinstance(self._objective, DistributedDataParallel) and not wanted:
                stack.enter_context(self._objective.no_sync())
            yield

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Let every method of the policy work inside, without gradients: blocks gather themselves, the rest is here."""
        if not isinstance(self._objective, FSDPModule):
            yield
            return
        self._objective.unshard()
        try:
            yield
        finally:
            self._objective.reshard()


def _shard(objective: nn.Module, world: World) -> nn.Module:
    mesh = init_device_mesh(world.device.type, (world.size,))
    frozen = {parameter for parameter in objective.parameters() if not parameter.requires_grad}
    # split again at the end of every pass: weights are then only ever changed where the optimiser holds them
    options: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": True, "ignored_params": frozen}
    for block in repeated_blocks(objective):
        if any(parameter.requires_grad for parameter in block.parameters()):
            fully_shard(block, **options)
    sharded: Any = fully_shard(objective, **options)
    return sharded


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that is split among the processes in one piece; all of them must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
