"""Two-way renaming of tensors, written down as a table of name templates and axis patterns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

PLACEHOLDERS = {"layer": r"\d+", "camera": "primary|wrist", "rest": ".+"}
"""What stands for what in a template."""


@dataclass(frozen=True)
class Rule:
    """Say what an official tensor, or several joined along their first axis, is called here.

    Args:
        official: template of the official name; several are joined in this order, one per camera.
        ours: template of our name, with the same placeholders.
        axes: ``"official -> ours"``, one letter per axis and ``1`` for an axis of size 1 that only one side has; empty
            if both sides are alike.

    Example:
        >>> rule = Rule("h.{layer}.c_fc.weight", "blocks.{layer}.wide.weight", "i o -> o i")
        >>> rule.carry([torch.zeros(2, 8)]).shape
        torch.Size([8, 2])
    """

    official: str | tuple[str, ...]
    ours: str
    axes: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Templates of the official names."""
        return (self.official,) if isinstance(self.official, str) else self.official

    def carry(self, parts: Sequence[Tensor]) -> Tensor:
        """Turn the official tensors into ours."""
        joined = parts[0] if len(parts) == 1 else torch.cat([*parts])
        return rearrange(joined, self.axes) if self.axes else joined

    def give_back(self, tensor: Tensor, *, parts: int = 1) -> list[Tensor]:
        """Turn our tensor into the official ones."""
        left, _, right = self.axes.partition("->")
        joined = rearrange(tensor, f"{right} -> {left}") if self.axes else tensor
        if joined.shape[0] % parts if parts > 1 else False:
            raise ValueError(f"{self.ours}: expected rows for {parts} cameras alike, got {tuple(tensor.shape)}")
        return [joined] if parts == 1 else [*joined.chunk(parts)]


@dataclass(frozen=True)
class Table:
    """All names of an official model.

    Args:
        system: whose; for messages.
        rules: one per kind of tensor.
        idle: patterns of names that the official model stores and does not use, or that are computed here.
    """

    system: str
    rules: tuple[Rule, ...]
    idle: tuple[str, ...] = ()

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Rule]]:
        return [(_pattern(source), rule) for rule in self.rules for source in rule.sources]

    @cached_property
    def _reverse(self) -> list[tuple[re.Pattern[str], Rule]]:
        return [(_pattern(rule.ours), rule) for rule in self.rules]

    def is_idle(self, official: str) -> bool:
        """Whether this tensor is never used."""
        return any(re.fullmatch(pattern, official) for pattern in self.idle)

    def our_name(self, official: str) -> str | None:
        """Return our name of an official tensor, or ``None`` for one that is never used.

        Raises:
            KeyError: for a name the official model does not have; names the nearest kind.
        """
        if self.is_idle(official):
            return None
        for pattern, rule in self._patterns:
            if match := pattern.fullmatch(official):
                return rule.ours.format(**match.groupdict())
        raise KeyError(f"the official {self.system} has no tensor {official!r}{self._nearest(official)}")

    def official_names(self, ours: str, *, cameras: int = 2) -> tuple[str, ...]:
        """Return the official names behind one of ours; where there is one per camera, the first ``cameras``.

        Raises:
            KeyError: if the official model has nothing of the kind.
        """
        rule, fields = self._rule_of(ours)
        return tuple(source.format(**fields) for source in rule.sources[:cameras])

    def carry(self, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename and rearrange official tensors, leaving out those never used.

        Raises:
            KeyError: for a tensor the official model does not have.
        """
        names = dict.fromkeys(name for key in official if (name := self.our_name(key)) is not None)
        ours = {}
        for name in names:
            rule, fields = self._rule_of(name)
            given = [source.format(**fields) for source in rule.sources]
            ours[name] = rule.carry([official[source] for source in given if source in official]).contiguous()
        return ours

    def give_back(self, ours: Mapping[str, Tensor], *, cameras: int = 2) -> dict[str, Tensor]:
        """Rename and rearrange our tensors into official ones; the inverse of `carry`.

        Raises:
            KeyError: for a tensor the official model has no place for.
        """
        official = {}
        for name, tensor in ours.items():
            rule, fields = self._rule_of(name)
            sources = rule.sources[:cameras]
            for source, part in zip(sources, rule.give_back(tensor, parts=len(sources)), strict=True):
                official[source.format(**fields)] = part.contiguous()
        return official

    def lacking(self, official: Collection[str]) -> list[str]:
        """Return the kinds of tensors (templates of their names) of which there is none."""
        return [
            template
            for rule in self.rules
            for template in rule.sources
            if not any(_pattern(template).fullmatch(name) for name in official)
        ]

    def _rule_of(self, ours: str) -> tuple[Rule, dict[str, str]]:
        for pattern, rule in self._reverse:
            if match := pattern.fullmatch(ours):
                return rule, match.groupdict()
        raise KeyError(f"the official {self.system} has no place for our tensor {ours!r}")

    def _nearest(self, name: str) -> str:
        return nearest(name, [source for rule in self.rules for source in rule.sources])


def rearrange(tensor: Tensor, axes: str) -> Tensor:
    """Permute, drop and add axes as a pattern says: one letter per axis, ``1`` for one of size 1.

    Raises:
        ValueError: if the tensor has other axes than the pattern's left side.

    Example:
        >>> rearrange(torch.zeros(1, 1, 3, 4), "1 1 n d -> n d").shape
        torch.Size([3, 4])
    """
    left, right = (side.split() for side in axes.split("->"))
    ones = [index for index, axis in enumerate(left) if axis == "1"]
    if tensor.dim() != len(left) or any(tensor.shape[index] != 1 for index in ones):
        raise ValueError(f"expected axes ({' '.join(left)}), got shape {tuple(tensor.shape)}")
    kept, wanted = [axis for axis in left if axis != "1"], [axis for axis in right if axis != "1"]
    tensor = tensor.reshape([size for index, size in enumerate(tensor.shape) if index not in ones])
    tensor = tensor.permute([kept.index(axis) for axis in wanted])
    for index, axis in enumerate(right):
        if axis == "1":
            tensor = tensor.unsqueeze(index)
    return tensor


def affine(official: str, ours: str) -> tuple[Rule, ...]:
    """Return the rule of a layer whose tensors (weight, bias, whatever it has) keep their names."""
    return (Rule(f"{official}.{{rest}}", f"{ours}.{{rest}}"),)


def gpt2(official: str) -> tuple[Rule, ...]:
    """Return the rules of GPT-2's blocks, whose matrices are stored as (in, out)."""
    there, here = f"{official}.h.{{layer}}", "trunk.blocks.{layer}"
    matrices = {"attn.c_attn": "qkv", "attn.c_proj": "out", "mlp.c_fc": "wide", "mlp.c_proj": "narrow"}
    rules = [rule for name in ("1", "2") for rule in affine(f"{there}.ln_{name}", f"{here}.norm{name}")]
    for theirs, ours in matrices.items():
        rules += [
            Rule(f"{there}.{theirs}.weight", f"{here}.{ours}.weight", "i o -> o i"),
            Rule(f"{there}.{theirs}.bias", f"{here}.{ours}.bias"),
        ]
    return (*rules, *affine(f"{official}.ln_f", "trunk.final"))


def perceiver() -> tuple[Rule, ...]:
    """Return the rules of Flamingo's resampler as Seer and GR-1 store it."""
    there, here = "perceiver_resampler", "encoders.image.resample"
    parts = {
        "norm_media": "norm_patches",
        "norm_latents": "norm_latents",
        "to_q": "query",
        "to_kv": "key_value",
        "to_out": "out",
    }
    attend = [
        rule
        for theirs, ours in parts.items()
        for rule in affine(f"{there}.layers.{{layer}}.0.{theirs}", f"{here}.attend.{{layer}}.{ours}")
    ]
    return (
        *attend,
        *affine(f"{there}.layers.{{layer}}.1", f"{here}.feed.{{layer}}"),
        Rule(f"{there}.latents", f"{here}.latents"),
        *affine(f"{there}.norm", f"{here}.norm"),
    )


def nearest(name: str, known: Collection[str]) -> str:
    """Return ``; did you mean ...?`` if something known looks like ``name``."""
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    text = [f"(?P<{part}>{PLACEHOLDERS[part]})" if index % 2 else re.escape(part) for index, part in enumerate(parts)]
    return re.compile("".join(text))
