"""Frozen encoders of a policy: which there are, where their weights come from, and whether they hold them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seerkit.fingerprint import weights_hash
from seerkit.hub.errors import CheckpointError, HubError
from seerkit.hub.header import HEADER_LIMIT, read_promised
from seerkit.hub.sources import RANDOM, Source, fit, read_source

if TYPE_CHECKING:
    from seerkit.policy import Policy

SECTIONS = ("encoders", "targets")
BESIDE = 4
"""How many times its module's bytes a published file may have: CLIP's holds the image tower beside the text's."""
UNKNOWN = torch.uint8
"""Stands for types no module here has."""


class FrozenEncodersRandom(UserWarning):
    """A frozen encoder holds random weights, which no training will change."""


class _NeedsNumbers(CheckpointError):
    """An adaptation that cannot be tried on tensors without numbers."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """One frozen module of a policy.

    Args:
        name: where it is in the policy, such as ``encoders.image.vit``.
        override: the recipe's key of its source.
        module: itself.
        source: where its weights come from; ``None`` if the recipe does not say.
    """

    name: str
    override: str
    module: nn.Module
    source: Source | None

    def __str__(self) -> str:
        return f"{self.name} (source {self.source.text if self.source else 'not declared'})"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whence a frozen module got its weights, and their fingerprint."""

    source: str
    sha256: str


def frozen_modules(policy: Policy) -> dict[str, Frozen]:
    """Return the frozen modules among a policy's encoders and targets by name: declared ones, then any other.

    A module with a declared source that is trained instead (``vit.frozen=false``) is not among them.

    Raises:
        CheckpointError: if a source is declared for a module that is not there, or is of no known form.
    """
    found: dict[str, Frozen] = {}
    for section in SECTIONS:
        for name, part in (policy.recipe.config.get(section) or {}).items():
            module = getattr(policy, section)[name]
            at = f"{section}.{name}"
            declared = dict(_declared(module, part.get("source"), at))
            found |= {key: frozen for key, frozen in declared.items() if _is_frozen(frozen.module)}
            for key, inner in _unclaimed(module, at, declared):
                found[key] = Frozen(key, f"+{at}.source" + key.removeprefix(at), inner, None)
    return found


def load_frozen(
    policy: Policy, *, download: bool = False, endpoint: str | None = None, token: str | None = None
) -> dict[str, str]:
    """Load the frozen encoders of a policy from their declared sources; say loudly, once, which stay random.

    Args:
        policy: just built; changed in place.
        download: also fetch what is not at hand; whatever is then still random is an error.
        endpoint: address of the Hub.
        token: for sources on the Hub that need one.

    Returns:
        For each frozen module ``"loaded"`` or ``"random"``.

    Raises:
        CheckpointError: if a source does not fit its module, a path is missing, or with ``download`` one is not had.
    """
    state, bare, reasons = {}, [], []
    for name, frozen in frozen_modules(policy).items():
        state[name] = "random"
        if frozen.source is None:
            bare.append(frozen)
        elif frozen.source.kind != RANDOM:
            try:
                done = attach(policy, frozen, download=download, endpoint=endpoint, token=token)
            except HubError as error:
                reasons.append(str(error))
                done = False
            state[name] = "loaded" if done else "random"
            bare += [] if done else [frozen]
    if bare and download:
        raise CheckpointError("; ".join([_bare(policy, bare), *reasons]))
    if bare:
        _tell(_bare(policy, bare))
    return state


def attach(
    policy: Policy, frozen: Frozen, *, download: bool, endpoint: str | None = None, token: str | None = None
) -> bool:
    """Load one frozen module from its source and remember that; return whether the weights were at hand.

    Raises:
        CheckpointError: if the tensors do not fit, with a table.
        HubError: if they could not be fetched.
    """
    from seerkit.convert.read import read_weights

    if frozen.source is None:
        return False
    expected = frozen.module.state_dict()
    most = BESIDE * sum(t.numel() * t.element_size() for t in expected.values()) + HEADER_LIMIT
    path = frozen.source.find(download=download, limit=most, endpoint=endpoint, token=token)
    if path is None:
        return False
    if path.suffix == ".safetensors":
        _check_promised(frozen, path)
    tensors = _fitted(frozen, lambda: read_weights(path))
    frozen.module.load_state_dict(tensors)
    policy.origins[frozen.name] = Origin(frozen.source.text, weights_hash(frozen.module.state_dict()))
    return True


def _check_promised(frozen: Frozen, path: Path) -> None:
    """Fit the tensors a file promises, which hold no numbers yet, so that what does not fit is never loaded."""
    promised, _ = read_promised(path)
    empty = {
        name: torch.empty(row.shape, dtype=row.dtype if isinstance(row.dtype, torch.dtype) else UNKNOWN, device="meta")
        for name, row in promised.items()
    }
    with contextlib.suppress(_NeedsNumbers):
        _fitted(frozen, lambda: empty)


def _fitted(frozen: Frozen, read: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Bring what was read to the module's names, size and precision, or say what does not fit."""
    from seerkit.convert.read import WeightsError

    source = frozen.source.text if frozen.source else ""
    expected = frozen.module.state_dict()
    try:
        tensors = fit(read(), expected)
        if adapt := getattr(frozen.module, "at_this_size", None):  # such as resampled positions
            tensors = adapt(tensors)
    except (WeightsError, OSError) as error:
        raise CheckpointError(f"source {source!r} of {frozen.name}: {error}") from error
    except (RuntimeError, LookupError, TypeError, AttributeError) as error:
        kind = _NeedsNumbers if isinstance(error, RuntimeError) and "meta" in str(error) else CheckpointError
        raise kind(f"source {source!r} cannot be brought to the size of {frozen.name}: {error!r:.300}") from error
    tensors = {key: _widened(value, expected.get(key)) for key, value in tensors.items()}
    if rows := differences(expected, tensors):
        raise CheckpointError(f"source {source!r} does not fit {frozen.name}:\n" + "\n".join(rows))
    return tensors


def differences(expected: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a table of what differs between two sets of tensors: names, shapes, types; empty if they fit."""
    rows = [f"  missing     {name} {tuple(expected[name].shape)}" for name in expected.keys() - given.keys()]
    rows += [f"  unexpected  {name} {tuple(given[name].shape)}" for name in given.keys() - expected.keys()]
    for name in expected.keys() & given.keys():
        for what, mine, theirs in (
            ("shape", tuple(expected[name].shape), tuple(given[name].shape)),
            ("dtype", expected[name].dtype, given[name].dtype),
        ):
            if mine != theirs:
                rows.append(f"  {what}       {name}: expected {mine}, given {theirs}")
    return sorted(rows)


def _declared(module: nn.Module, source: object, at: str) -> Iterator[tuple[str, Frozen]]:
    if source is None:
        return
    for inner, text in source.items() if isinstance(source, Mapping) else [("", source)]:
        try:
            target = module.get_submodule(inner)
        except AttributeError as error:
            there = [name for name, _ in module.named_children()]
            raise CheckpointError(f"{at}.source names {inner!r}, but {at} has {there}") from error
        name = f"{at}.{inner}".rstrip(".")
        known = None if text is None else read_source(text)  # null: published nowhere one could name
        yield name, Frozen(name, f"{at}.source.{inner}".rstrip("."), target, known)


def _unclaimed(module: nn.Module, at: str, declared: Mapping[str, Frozen]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the largest frozen modules that neither are declared nor hold or lie in declared ones."""
    if at in declared:
        return
    if _is_frozen(module) and not any(name.startswith(f"{at}.") for name in declared):
        yield at, module
        return
    for name, child in module.named_children():
        yield from _unclaimed(child, f"{at}.{name}", declared)


def _is_frozen(module: nn.Module) -> bool:
    parameters = [*module.parameters()]
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def _widened(given: Tensor, expected: Tensor | None) -> Tensor:
    """Bring half precision to the module's single precision, which changes no number."""
    exact = expected is not None and given.is_floating_point() and given.dtype.itemsize < expected.dtype.itemsize
    return given.to(expected.dtype) if exact and expected is not None else given


def _bare(policy: Policy, bare: list[Frozen]) -> str:
    names, first = ", ".join(map(str, bare)), bare[0].override
    one = len(bare) == 1
    return (
        f"{'a frozen encoder' if one else f'{len(bare)} frozen encoders'} of {policy.recipe.name!r} "
        f"{'holds' if one else 'hold'} random weights: {names}. Fetch them with build_policy(..., fetch=True) or "
        f"`seerkit fetch {policy.recipe.name}`, or name a file: {first}=PATH; {first}={RANDOM} says it is meant so"
    )


@cache
def _tell(message: str) -> None:
    """Warn once per process and set of encoders."""
    warnings.warn(message, FrozenEncodersRandom, stacklevel=4)
