"""What a training run is asked to do; everything that decides its outcome besides the policy and the data."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Hold a run's hyper-parameters, checked.

    Args:
        lr: peak learning rate.
        weight_decay: of AdamW, on every trainable parameter (as the official Seer: one group, norms and biases too).
        betas: of AdamW.
        batch_size: windows per update, over all processes.
        micro_batch: windows per forward pass of a process, when its share of a batch does not fit into memory; must
            divide that share.
        trajectory_chunk: draw windows in runs of 1 + this many neighbours that share their frames' encoding; 0 draws
            each by itself. 1 + it must divide the windows of a forward pass.
        cached_features: read what the frozen image encoder made of each frame from a folder beside the data
            (`seerkit features` writes it) instead of running the encoder.
        epochs: length of the run in passes over the data; give this or ``updates``.
        updates: length of the run in optimiser updates.
        warmup_epochs: length of the linear warm-up in passes over the data; give this, or ``warmup``, or neither.
        warmup: length of the linear warm-up in updates.
        schedule: ``"cosine"`` falls to 0 at the end, ``"constant"`` stays at the peak.
        clip: largest gradient norm, ``None`` for no clipping.
        clip_each: clip the accumulating gradient after every forward pass, as the official Seer does, instead of once
            per update. Only differs when ``micro_batch`` is set. Goes without saying at ``precision="official"``.
        ema: decay of the averaged weights, ``None`` for none; checkpoints and validation then use the average.
        seed: decides the order of the windows, dropout, augmentation and the hold-out.
        precision: ``"fp32"`` (without TF32), ``"bf16"`` for autocast, ``"auto"``: bf16 on an accelerator and fp32 on a
            CPU, or ``"official"``, what the official Seer does: weights and inputs of the frozen image encoder in bf16,
            everything else fp32 without TF32, gradients clipped after every forward pass.
        parallel: how several processes share the work: ``"ddp"`` or ``"fsdp"``; see `seerkit.train.parallel.Replicas`.
        compile: whether to compile the blocks of the trunk and of frozen encoders; takes a minute or more at first.
        checkpoint_blocks: whether the blocks of trunk and heads are computed again in the backward pass instead of
            remembered: less memory, the same gradients.
        holdout: share of the layouts kept for validation.
        validation_windows: how many held-out windows a validation looks at, at most.
        validate_every: updates between validations; a tenth of the run if not given.
        save_every: updates between checkpoints; a tenth of the run if not given.
        log_every: updates between lines of the log.
        keep: how many checkpoints stay, besides the best one.
        wandb: a project of Weights & Biases to log to, besides TensorBoard; ``None`` for none.

    Raises:
        ValueError: a value is out of range, or not exactly one of ``epochs`` and ``updates`` is given.
    """

    lr: float = 1e-4
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    batch_size: int = 16
    micro_batch: int | None = None
    trajectory_chunk: int = 0
    cached_features: bool = False
    epochs: float | None = None
    updates: int | None = None
    warmup_epochs: float | None = None
    warmup: int | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = 0.1
    clip_each: bool = False
    ema: float | None = None
    seed: int = 42
    precision: Literal["auto", "fp32", "bf16", "official"] = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    checkpoint_blocks: bool = False
    holdout: float = 0.0
    validation_windows: int = 256
    validate_every: int | None = None
    save_every: int | None = None
    log_every: int = 10
    keep: int = 2
    wandb: str | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        if (self.epochs is None) == (self.updates is None):
            raise ValueError(f"give either epochs or updates, got epochs={self.epochs} and updates={self.updates}")
        if self.warmup_epochs is not None and self.warmup is not None:
            raise ValueError(f"give warmup_epochs or warmup, got {self.warmup_epochs} and {self.warmup}")
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if self.batch_size % (self.micro_batch or 1):
            raise ValueError(f"micro_batch must divide batch_size {self.batch_size}, got {self.micro_batch}")
        for name, known in _CHOICES:
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise ValueError(f"{name} must be in [{low}, {high}), got {value}")

    def _check_numbers(self) -> None:
        for name in (*_COUNTS, *(name for name, _, _ in _RANGES)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"{name} must be a number, got {value!r}")

    @classmethod
    def read(cls, fields: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> Settings:
        """Build settings from a recipe's ``train`` section and explicit changes to it.

        A change of ``updates`` replaces the recipe's ``epochs`` and the other way round; the warm-up then keeps its
        share of the run unless it is changed too.

        Raises:
            ValueError: a name is unknown (the nearest one is suggested) or a value is out of range.
        """
        merged = {**fields, **(changes or {})}
        known = [field.name for field in dataclasses.fields(cls)]
        for name in merged:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown training setting {name!r}{hint} Known: {', '.join(known)}")
        if changes and {"epochs", "updates"} & changes.keys():
            _change_length(merged, fields, changes)
        if "betas" in merged:
            merged["betas"] = tuple(merged["betas"])
        return cls(**merged)

    def passes(self, processes: int = 1) -> int:
        """Return how many forward passes each of ``processes`` makes per update.

        Raises:
            ValueError: the batch does not divide among them, or a share of it not into passes of ``micro_batch``.
        """
        share, rest = divmod(self.batch_size, processes)
        if rest:
            raise ValueError(f"batch_size {self.batch_size} does not divide among {processes} processes")
        if share % (self.micro_batch or share):
            raise ValueError(
                f"micro_batch must divide each process's share of the batch, {share} of {self.batch_size}, got "
                f"{self.micro_batch}"
            )
        return share // (self.micro_batch or share)

    @property
    def clips_each(self) -> bool:
        """Whether gradients are clipped after every forward pass."""
        return self.clip_each or self.precision == "official"

    def rows(self, windows: int) -> int:
        """Return how many rows of a batch hold ``windows`` windows.

        Raises:
            ValueError: runs of ``1 + trajectory_chunk`` neighbours do not divide them.
        """
        run = 1 + self.trajectory_chunk
        if windows % run:
            raise ValueError(
                f"trajectory_chunk={self.trajectory_chunk} draws windows in runs of {run}, which do not divide the "
                f"{windows} windows of a forward pass"
            )
        return windows // run

    def length(self, windows: int) -> tuple[int, int]:
        """Return the updates of the whole run and of its warm-up, for a data set of ``windows`` windows."""
        per_epoch = windows / self.batch_size
        total = self.updates if self.updates is not None else max(1, math.ceil((self.epochs or 0) * per_epoch))
        warmup = self.warmup if self.warmup is not None else round((self.warmup_epochs or 0) * per_epoch)
        return total, warmup


_COUNTS = (
    "batch_size",
    "micro_batch",
    "epochs",
    "updates",
    "validation_windows",
    "validate_every",
    "save_every",
    "log_every",
    "keep",
)
_CHOICES = (
    ("schedule", ("cosine", "constant")),
    ("precision", ("auto", "fp32", "bf16", "official")),
    ("parallel", ("ddp", "fsdp")),
)
_RANGES = (
    ("lr", 0, math.inf),
    ("weight_decay", 0, math.inf),
    ("warmup", 0, math.inf),
    ("warmup_epochs", 0, math.inf),
    ("trajectory_chunk", 0, math.inf),
    ("clip", 0, math.inf),
    ("holdout", 0, 1),
    ("ema", 0, 1),
)


def _change_length(merged: dict[str, Any], fields: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Switch the unit of the run's length if the changes ask for it, and let the warm-up follow."""
    unit, other = ("updates", "epochs") if changes.get("updates") is not None else ("epochs", "updates")
    if changes.get(other) is None:
        merged[other] = None
    if {"warmup", "warmup_epochs"} & changes.keys():
        merged.update(dict.fromkeys({"warmup", "warmup_epochs"} - changes.keys()))
        return
    before = fields.get("updates"), fields.get("epochs")
    warm = fields.get("warmup"), fields.get("warmup_epochs")
    share = next((w / b for w, b in zip(warm, before, strict=True) if w and b), 0.0)
    length = merged[unit]
    merged["warmup"] = round(share * length) if unit == "updates" else None
    merged["warmup_epochs"] = share * length if unit == "epochs" else None
