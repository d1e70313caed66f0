"""Validation on held-out episodes: losses, foresight, and whether the policy listens to its goal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor, nn

from seerkit import keys
from seerkit.data.mixture import Mixture
from seerkit.data.sampler import permute
from seerkit.data.windows import Windows
from seerkit.train.foreseen import foreseen_means, foreseen_sums, unseen
from seerkit.train.parallel import World

if TYPE_CHECKING:
    from seerkit.policy import Policy


class Validation:
    """Measure a policy on a fixed choice of held-out windows.

    Metrics, all means over the windows:

    - ``val_loss`` and ``val_<term>`` of the policy's loss, without dropout or augmentation. What a head draws while
      learning is the same in every measurement and for every sentence.
    - ``val_<term>_wrong_word``: the action terms again, after each row's instruction was replaced by another one of the
      store. A policy that listens does clearly worse. Left out where the store has a single instruction.
    - ``val_<term>_wrong_goal``: in its place, for a policy that is told by a picture or a state: each row's goal was
      replaced by that of the next episode held out. Left out where a single one is.
    - ``val_psnr_<camera>``: peak signal-to-noise ratio in dB of the frames foreseen.
    - ``val_psnr_copy_<camera>``: that of repeating the present frame, which is what foresight has to beat.
    - ``val_cosine_<camera>``, ``val_cosine_copy_<camera>`` where features are foreseen, ``val_depth_error_<camera>``,
      ``val_depth_error_copy_<camera>`` (metres, where measured) where depth is: there are no pictures to compare.

    Args:
        windows: the held-out windows.
        limit: how many of them to look at, at most; spread over all episodes.
        batch_size: windows per forward pass.
        world: the processes of the run, each of which looks at its share of the batches. The metrics do not depend on
            how many there are.
        instructions: the sentences of the whole store, from which wrong ones are taken.
    """

    def __init__(
        self,
        windows: Windows | Mixture,
        *,
        limit: int,
        batch_size: int,
        world: World,
        instructions: Sequence[str],
    ) -> None:
        order = permute(torch.arange(len(windows)), len(windows), torch.zeros(len(windows), dtype=torch.long))
        self._batches = order[:limit].sort().values.split(batch_size)
        self._windows, self._world, self._instructions = windows, world, list(instructions)
        self._device = world.device

    @torch.no_grad()
    def measure(self, policy: Policy | nn.Module) -> dict[str, float]:
        """Return the metrics of ``policy``; its training mode is restored, and so are torch's random numbers.

        Every process must call it, and gets the same answer.
        """
        was_training = policy.training
        policy.eval()
        try:
            with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
                shares = self._world.gather(self._share(policy))
        finally:
            policy.train(was_training)
        sums: dict[str, float] = {}
        for seed in range(len(self._batches)):  # always in this order, so that sums are the same to the last bit
            for name, value in shares[seed % self._world.size][seed].items():
                sums[name] = sums.get(name, 0.0) + value
        return _summary(sums, sum(len(index) for index in self._batches))

    def _share(self, policy: nn.Module) -> dict[int, dict[str, float]]:
        """Measure every ``world.size``-th batch; all processes make as many passes, as shards need."""
        size, last = self._world.size, len(self._batches) - 1
        mine = [min(seed + self._world.rank, last) for seed in range(0, last + 1, size)]
        return {
            seed: {name: float(value) for name, value in self._batch(policy, self._batches[seed], seed=seed).items()}
            for seed in mine
        }

    def _batch(
        self,
        policy: Any,  # noqa: ANN401 - a Policy or a stand-in
        index: Tensor,
        *,
        seed: int,
    ) -> dict[str, Tensor | float]:
        batch = self._windows.gather(index).to(self._device)
        torch.manual_seed(seed)
        terms: dict[str, Tensor] = dict(policy.loss(batch).items())
        rows = len(batch)
        sums: dict[str, Tensor | float] = {f"val_{name}": value * rows for name, value in terms.items()}
        sums["val_loss"] = torch.stack(list(terms.values())).sum() * rows
        for what, misled in self._misled(batch, index, reads=getattr(policy, "inputs", [keys.INSTRUCTION])):
            torch.manual_seed(seed)
            wrong = policy.loss(misled)
            for name in terms:
                if name != "loss_foresight":
                    sums[f"val_{name}_wrong_{what}"] = wrong[name] * rows
        if self._windows.ahead:
            if kind := unseen(policy):
                sums |= foreseen_sums(policy, batch, kind=kind)
            elif policy.pictures:
                sums |= _errors(policy.foresee(batch), batch, self._windows.ahead)
        return sums

    def _misled(
        self, batch: TensorDict, index: Tensor, *, reads: Sequence[keys.NestedKey]
    ) -> Iterator[tuple[str, TensorDict]]:
        """Yield the batch with wrong words or wrong goals, as far as the policy reads them and there are others."""
        if keys.INSTRUCTION in reads and len(self._instructions) > 1:
            yield "word", self._with_wrong_words(batch)
        if any(key[0] == keys.GOAL_STATE[0] for key in reads) and len(self._windows.episodes) > 1:
            other = self._windows.gather(self._windows.in_next_episode(index)).to(self._device)
            yield "goal", batch.copy().update({keys.GOAL_STATE[0]: other[keys.GOAL_STATE[0]]})

    def _with_wrong_words(self, batch: TensorDict) -> TensorDict:
        """Give every row an instruction of another row of the store's list of sentences."""
        known = self._instructions
        place = {text: number for number, text in enumerate(known)}  # a span without a sentence is told any
        given: list[str] = batch.get(keys.INSTRUCTION).tolist()
        wrong = [
            known[(place.get(text, -1) + 1 + row % (len(known) - 1)) % len(known)] for row, text in enumerate(given)
        ]
        misled = batch.copy()
        misled[keys.INSTRUCTION] = NonTensorStack.from_list(wrong)
        return misled


def _errors(foreseen: Mapping[str, Tensor], batch: TensorDict, ahead: int) -> dict[str, float]:
    """Add up the squared errors of foresight and of a copy over the frames that exist, and count these, per camera."""
    exists = ~batch[keys.FUTURE_IS_PAD]
    sums = {}
    for camera, guess in foreseen.items():
        steps = guess.shape[1]
        present = _fit(batch[keys.under(keys.IMAGE, camera)], guess.shape[-2:])
        future = _fit(batch[keys.under(keys.FUTURE, camera)], guess.shape[-2:])
        truth = torch.cat([present, future], dim=1)[:, ahead : ahead + steps]
        for name, frames in (("error", guess.float()), ("copy", present)):
            error = (frames - truth).square().mean(dim=(-3, -2, -1))
            sums[f"{name} {camera}"] = float(error[exists].sum())
        sums[f"frames {camera}"] = float(exists.sum())
    return sums


def _fit(frames: Tensor, size: torch.Size) -> Tensor:
    """Scale frames to the size foreseen (shorter side, then the middle), in levels 0..255."""
    floats = frames.float()
    if frames.shape[-2:] == size:
        return floats
    scale = max(size[0] / frames.shape[-2], size[1] / frames.shape[-1])
    wide = [max(want, round(side * scale)) for want, side in zip(size, frames.shape[-2:], strict=True)]
    scaled = nn.functional.interpolate(floats.flatten(0, 1), wide, mode="bicubic", antialias=True).clamp(0, 255)
    top, left = (wide[0] - size[0]) // 2, (wide[1] - size[1]) // 2
    return scaled[..., top : top + size[0], left : left + size[1]].unflatten(0, frames.shape[:2])


def _summary(sums: Mapping[str, float], rows: int) -> dict[str, float]:
    metrics = {name: value / rows for name, value in sums.items() if name.startswith("val_")}
    metrics |= foreseen_means(sums)
    for name in sums:
        kind, _, camera = name.partition(" ")
        if kind in ("error", "copy") and sums[f"frames {camera}"]:
            prefix = "val_psnr" if kind == "error" else "val_psnr_copy"
            metrics[f"{prefix}_{camera}"] = _psnr(sums[name] / sums[f"frames {camera}"])
    return metrics


def _psnr(error: float) -> float:
    """Turn a mean squared error in levels into decibels, 100 at most."""
    return min(100.0, float(10 * torch.log10(torch.tensor(255.0**2 / max(error, 1e-9), dtype=torch.float64))))
