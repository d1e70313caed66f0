"""Tie parts to keys: stages in, one checked tensordict graph out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from tensordict.utils import unravel_key
from torch import nn

from seerkit.keys import NestedKey


def bind(module: nn.Module, *, reads: Iterable[NestedKey], writes: Iterable[NestedKey]) -> TensorDictModule:
    """Tie a plain module's arguments and results to keys.

    Args:
        module: takes one positional tensor per key of ``reads``, returns one (or a tuple of them) per key of
            ``writes``.
        reads: keys of its arguments, in order.
        writes: keys of its results, in order.
    """
    return TensorDictModule(module, in_keys=_keys(reads), out_keys=_keys(writes))


def assemble(stages: Mapping[str, TensorDictModuleBase], *, inputs: Collection[NestedKey]) -> TensorDictSequential:
    """Chain stages; each may read the inputs and whatever earlier stages wrote.

    Args:
        stages: name -> bound stage, in the order they run.
        inputs: the keys that are there before the first stage.

    Raises:
        ValueError: if a stage reads a key that nobody provides by then; names the stage, the key and what exists.

    Example:
        >>> double = bind(nn.Linear(2, 4), reads=["x"], writes=["y"])
        >>> assemble({"double": double}, inputs=["z"])
        Traceback (most recent call last):
        ...
        ValueError: stage 'double' reads ['x'], but only ['z'] exist by then
    """
    known = set(_keys(inputs))
    for name, stage in stages.items():
        missing = [key for key in stage.in_keys if key not in known]
        if missing:
            raise ValueError(f"stage {name!r} reads {missing}, but only {sorted(known, key=str)} exist by then")
        known.update(stage.out_keys)
    return TensorDictSequential(OrderedDict(stages))


def stage_table(stages: Mapping[str, TensorDictModuleBase]) -> list[tuple[str, str, list[Any], list[Any]]]:
    """List every stage as ``(name, module class, keys read, keys written)``, in order."""
    rows = []
    for name, stage in stages.items():
        part: Any = getattr(stage, "module", stage)
        rows.append((name, type(part).__name__, [*stage.in_keys], [*stage.out_keys]))
    return rows


def _keys(keys: Iterable[NestedKey | Sequence[str]]) -> Any:  # noqa: ANN401 - tensordict spells this type twice
    return [unravel_key(key if isinstance(key, str) else tuple(key)) for key in keys]
