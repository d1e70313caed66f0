"""Activations that wait for the backward pass, per window: the official schedule of work against ours.

What a forward pass hands to autograd is caught by `torch.autograd.graph.saved_tensors_hooks`; storages are counted
once, those of parameters and buffers not at all. A window's share is what two windows take more than one, so that what
does not grow with the batch (bf16 copies of weights, masks) is left out.

Dropout is off: with dropout the CPU's fused attention falls back to keeping all scores, which a GPU's does not. The
figures are those of CPU kernels, which keep much the same tensors as a GPU's.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch
from measure import arguments, report, rounded
from official import OfficialSchedule, build, our_loss, prepared_batch, without_dropout
from tensordict import TensorDict
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from seerkit import Policy

GOALS = {"seer_calvin": 0.45, "seer_large_calvin": 0.40}
MIB = 2**20


def saved(loss: Callable[[], Tensor], policy: Policy) -> float:
    """Return the MiB that a forward pass keeps for the backward pass."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*policy.parameters(), *policy.buffers())}
    kept: dict[int, tuple[StorageWeakRef, int]] = {}

    def pack(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:  # a weak reference: identity is kept, memory is not
            reference = StorageWeakRef(storage)
            kept[reference.cdata] = reference, storage.nbytes()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda _: torch.empty(0)):
        loss()
    return sum(size for _, size in kept.values()) / MIB


def per_window(policy: Policy, loss: Callable[[TensorDict], Tensor]) -> float:
    """Return what a second window adds."""
    batches = [prepared_batch(policy, rows=rows) for rows in (1, 2)]
    one, two = (saved(functools.partial(loss, td), policy) for td in batches)
    return two - one


@contextlib.contextmanager
def recomputed(policy: Policy) -> Iterator[None]:
    """Let the trunk's blocks keep their inputs alone and compute the rest again in the backward pass."""
    for block in policy.trunk.blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in policy.trunk.blocks:
            del block.forward


def ours(policy: Policy, td: TensorDict) -> Tensor:
    """Return our loss in bf16."""
    with torch.autocast("cpu", torch.bfloat16):
        return our_loss(policy, td)


def measure(recipe: str, *, quick: bool) -> dict[str, float]:
    """Return the MiB per window of every schedule."""
    policy = without_dropout(build(recipe, quick=quick))
    found = {"official": per_window(policy, OfficialSchedule(policy, half=True).loss)}
    found["ours fp32"] = per_window(policy, functools.partial(our_loss, policy))
    found["ours bf16"] = per_window(policy, functools.partial(ours, policy))
    with recomputed(policy):
        found["ours bf16, blocks recomputed"] = per_window(policy, functools.partial(ours, policy))
    return found


def main() -> None:
    """Measure and print the result."""
    given = arguments(__doc__)
    torch.set_num_threads(1)
    mib = {name: measure(name, quick=given.quick) for name in GOALS}
    ratio = {name: found["ours bf16"] / found["official"] for name, found in mib.items()}
    details = {
        "ratio": rounded(ratio),
        "ratio_recomputed": rounded({n: f["ours bf16, blocks recomputed"] / f["official"] for n, f in mib.items()}),
        "mib_per_window": {name: rounded(found, digits=4) for name, found in mib.items()},
        "dropout": "off",
        "quick": given.quick,
    }
    ok = all(ratio[name] <= goal for name, goal in GOALS.items())
    report("train_memory", ratio=round(ratio["seer_calvin"], 3), goal=GOALS, ok=ok, details=details)


if __name__ == "__main__":
    main()
