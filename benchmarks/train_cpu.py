"""One training update of Seer on the CPU: the official schedule of work against ours.

Both run on the same weights in one process, in turn, on one thread; median CPU time. Before anything is timed, the
gradients of both are compared with dropout off. See `official` for what the official schedule does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from measure import arguments, interleaved, report, rounded
from official import OfficialSchedule, build, our_loss, prepared_batch, without_dropout
from tensordict import TensorDict
from torch import Tensor, nn

from seerkit import Policy

GOALS = {"fp32": 1.1, "bf16": 1.25, "gradient": 1e-4}
ROWS = 2


def gradients(policy: Policy, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return a copy of every gradient of ``loss``."""
    policy.zero_grad(set_to_none=True)
    loss().backward()
    found = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad(set_to_none=True)
    return found


def worst(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> tuple[float, str]:
    """Return the largest difference of a tensor's gradient relative to its largest number, and which tensor it is."""
    if ours.keys() != theirs.keys():
        raise SystemExit(f"other parameters have gradients: {sorted(ours.keys() ^ theirs.keys())}")
    found = {
        name: float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max().clamp(min=1e-12))
        for name in ours
    }
    name = max(found, key=found.__getitem__)
    return found[name], name


def update(policy: Policy, loss: Callable[[], Tensor], *, fused: bool) -> Callable[[], None]:
    """Return a function that does one update: loss, gradient, clip, AdamW at a learning rate of 0."""
    parameters = [p for p in policy.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.0, weight_decay=1e-4, fused=fused or None)

    def step() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(parameters, 0.1)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def schedules(policy: Policy, td: TensorDict, *, half: bool) -> dict[str, Callable[[], Tensor]]:
    """Return both schedules' losses at one precision."""
    official = OfficialSchedule(policy, half=half)

    def ours() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            return our_loss(policy, td)

    return {"official": lambda: official.loss(td), "ours": ours}


def compare(recipe: str, *, quick: bool) -> tuple[float, str]:
    """Compare the gradients in fp32."""
    policy = without_dropout(build(recipe, quick=quick))
    losses = schedules(policy, prepared_batch(policy, rows=1), half=False)
    both = {name: gradients(policy, loss) for name, loss in losses.items()}
    return worst(both["ours"], both["official"])


def main() -> None:
    """Measure and print the result."""
    given = arguments(__doc__)
    torch.set_num_threads(1)
    rounds = given.rounds or (1 if given.quick else 5)
    difference = {name: compare(name, quick=given.quick) for name in ("seer_calvin", "seer_calvin_pretrain")}
    policy = build("seer_calvin", quick=given.quick)
    td = prepared_batch(policy, rows=ROWS)
    ratio, seconds = {}, {}
    for precision in ("fp32", "bf16"):
        losses = schedules(policy, td, half=precision == "bf16")
        steps = {name: update(policy, loss, fused=name == "ours") for name, loss in losses.items()}
        seconds[precision] = interleaved(steps, rounds=rounds)
        ratio[precision] = seconds[precision]["official"] / seconds[precision]["ours"]
    gradient = max(value for value, _ in difference.values())
    details = {
        "ratio": rounded(ratio),
        "gradient_difference": {name: [float(f"{value:.2g}"), where] for name, (value, where) in difference.items()},
        "seconds": {name: rounded(values) for name, values in seconds.items()},
        "rows": ROWS,
        "rounds": rounds,
        "quick": given.quick,
    }
    ok = all(ratio[name] >= GOALS[name] for name in ratio) and gradient <= GOALS["gradient"]
    report("train_cpu", ratio=round(ratio["fp32"], 3), goal=GOALS, ok=ok, details=details)


if __name__ == "__main__":
    main()
