"""What a recipe that somebody else wrote may say: numbers, names, and seerkit's own parts, nothing else."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from seerkit.hub.errors import CheckpointError
from seerkit.hub.sections import check_sections, sizes_of
from seerkit.hub.sources import read_source

BYTES, NODES, DEPTH, LETTERS, KEY = 1 << 20, 5_000, 24, 10_000, 200
NUMBER, LAYERS, TOKENS = 65_536, 256, 16_384
"""The largest number in what is built, the most layers of all stacks together, and the longest window in tokens."""
STACKS = ("depth", "layers", "blocks")
BUILT = ("layout", "pixels", "encoders", "targets", "trunk", "heads", "losses", "ensemble")
SIZES = ("image_size", "patch", "dim", "steps", "chunk", "ahead", "goal_ahead")
TARGET = re.compile(r"seerkit(\.[A-Za-z]\w*)+")
PATH = re.compile(r"[:\\]|\.\.|^[/~]")
"""Marks of an address or a path: timm and open_clip take both for a model's name."""
TRUST = "pass trust_remote_code=True only if you would run its author's programs"

Place = tuple[str, ...]


def check_text(text: bytes, *, source: str) -> dict[str, Any]:
    """Refuse a recipe's text if it is more than plain YAML of a sane size; return what it says, nothing resolved.

    Raises:
        CheckpointError: if it is too large, no YAML, or uses anchors, tags, references or ``defaults``.
    """
    if len(text) > BYTES:
        raise CheckpointError(f"{source} has {len(text):,} bytes; a recipe has at most {BYTES:,}")
    try:
        decoded = text.decode("utf-8")
        depth = 0
        for count, event in enumerate(yaml.parse(decoded, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _check_event(event, count, depth, source)
        tree = yaml.safe_load(decoded)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{source} is no readable YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{source} is no recipe: expected sections, given a {type(tree).__name__}")
    if "defaults" in tree:
        raise CheckpointError(f"{source} builds on other files (defaults); expected a resolved recipe")
    for place, value in _nodes(tree, source=source):
        if isinstance(value, str) and "${" in value:
            raise CheckpointError(f"{source}: {_dotted(place)} refers to something ({value!r:.80}); {TRUST}")
    return tree


def check_recipe(config: Mapping[str, Any], *, source: str) -> None:
    """Refuse a recipe that names anything but seerkit's own modules, files of this machine, or absurd sizes.

    It is asked twice: about the tree as it is written, before references and sizes per camera are worked out, and
    about what came of that.

    Raises:
        CheckpointError: naming the key.
    """
    for place, value in _nodes(config, source=source):
        key = place[-1] if place else ""
        if key == "_target_":
            _check_target(value, place, source)
        elif key.startswith("_"):
            raise CheckpointError(f"{source}: {_dotted(place)} steers how objects are made; {TRUST}")
        elif place[0] in (*BUILT, *SIZES):
            _check_value(value, place, source)
    check_sections(config, source=source)
    _check_stacks(config, source)
    for section in ("encoders", "targets"):
        for name, part in (config.get(section) or {}).items():
            _check_sources(part, f"{section}.{name}", source)
    _check_window(config, source)


def _check_event(event: yaml.Event, count: int, depth: int, source: str) -> None:
    if count > 3 * NODES or depth > DEPTH:  # up to three events make an entry
        raise CheckpointError(f"{source} has more entries than a recipe ({NODES:,}) or is deeper than {DEPTH} levels")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise CheckpointError(
            f"{source} uses YAML anchors, which can make a small file enormous; expected plain values"
        )
    if getattr(event, "tag", None) is not None:
        raise CheckpointError(f"{source} uses the YAML tag {event.tag!r}; expected plain values")  # pyright: ignore


def _nodes(tree: object, place: Place = (), *, source: str) -> Iterator[tuple[Place, Any]]:
    """Yield every value below a tree with the keys that lead to it; lists count as keys that are numbers."""
    waiting: list[tuple[Place, Any]] = [(place, tree)]
    seen = 0
    while waiting:
        at, value = waiting.pop()
        seen += 1
        if seen > NODES or len(at) > DEPTH:
            raise CheckpointError(
                f"{source} is larger or deeper than a recipe: over {NODES:,} entries or {DEPTH} levels"
            )
        if isinstance(value, Mapping):
            strange = [key for key in value if not isinstance(key, str)]
            if strange:
                raise CheckpointError(f"{source}: {_dotted(at)} has the key {strange[0]!r}; expected names")
            if any(len(key) > KEY for key in value):
                raise CheckpointError(f"{source}: a name has over {KEY} letters")
            waiting += [((*at, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*at, str(index)), inner) for index, inner in enumerate(value)]
        elif isinstance(value, str) and len(value) > LETTERS:
            raise CheckpointError(f"{source}: {_dotted(at)} has {len(value):,} letters; at most {LETTERS:,} are read")
        elif not isinstance(value, str | int | float | None):
            raise CheckpointError(f"{source}: {_dotted(at)} is a {type(value).__name__}; expected words or numbers")
        if at:
            yield at, value


def _check_target(value: object, place: Place, source: str) -> None:
    """Let only classes pass that are modules, written in seerkit, and named where they are found."""
    where = f"{source}: {_dotted(place)}"
    if not isinstance(value, str) or not TARGET.fullmatch(value):
        raise CheckpointError(f"{where} names {value!r:.100}, which is no part of seerkit; {TRUST}")
    path, _, name = value.rpartition(".")
    try:
        found = vars(importlib.import_module(path)).get(name)
    except ImportError as error:
        raise CheckpointError(f"{where} names {value!r}: there is no module {path!r} in seerkit; {TRUST}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith("seerkit.")):
        raise CheckpointError(f"{where} names {value!r}, which is not one of seerkit's modules; {TRUST}")


def _check_value(value: object, place: Place, source: str) -> None:
    where = f"{source}: {_dotted(place)}"
    if isinstance(value, str) and (len(value) > LETTERS or ("source" not in place and PATH.search(value))):
        raise CheckpointError(f"{where} is {value!r:.80}; expected a plain name, not an address or a path")
    if isinstance(value, int | float) and not abs(value) <= (LAYERS if _is_stack(place) else NUMBER):
        raise CheckpointError(f"{where} is {value:,}, which no policy needs")


def _check_stacks(config: Mapping[str, Any], source: str) -> None:
    layers = 0
    for place, value in _nodes(config, source=source):
        if place[0] in BUILT and _is_stack(place) and isinstance(value, int):
            layers += max(value, 0)
    if layers > LAYERS:
        raise CheckpointError(f"{source}: its stacks have {layers:,} layers together; at most {LAYERS} are built")


def _is_stack(place: Place) -> bool:
    """Say whether a key counts layers: ``depth``, or an entry of a list under that name."""
    return next((key for key in reversed(place) if not key.isdigit()), "") in STACKS


def _check_sources(part: object, at: str, source: str) -> None:
    declared = part.get("source") if isinstance(part, Mapping) else None
    for text in declared.values() if isinstance(declared, Mapping) else [declared]:
        if text is not None and read_source(text).kind == "path":
            raise CheckpointError(f"{source}: {at}.source names the file {text!r:.80} of this machine; {TRUST}")


def _check_window(config: Mapping[str, Any], source: str) -> None:
    tokens = sum(sizes_of(config["layout"], config["cameras"])) * config["steps"]
    if tokens > TOKENS:
        raise CheckpointError(f"{source}: a window of {tokens:,} tokens; at most {TOKENS:,} are built unseen")


def read_text(path: Path) -> bytes:
    """Read a file, but not more of it than a recipe may have."""
    with path.open("rb") as stream:
        return stream.read(BYTES + 1)


def _dotted(place: Place) -> str:
    return ".".join(place)
