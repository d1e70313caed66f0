"""What kind of thing each section of a recipe is, so that one that somebody else wrote breaks nothing later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seerkit.hub.errors import CheckpointError

CAMERAS = 16
"""The most cameras a policy of the Hub may have."""
GROUPS = ("pixels", "encoders", "heads", "losses")
SECTIONS = (*GROUPS, "meta", "layout", "trunk", "ensemble")
OPTIONAL = ("targets", "data", "init_from", "train", "eval")
SIZES = {"image_size": 1, "patch": 1, "dim": 1, "steps": 1, "chunk": 1, "feature": 1, "goal_ahead": 0}
"""The smallest each whole number may be."""


def check_sections(config: Mapping[str, Any], *, source: str) -> None:
    """Refuse a recipe whose sections are of other types than a policy is built, described and saved from.

    Args:
        config: a recipe, resolved or not.
        source: whose, for messages.

    Raises:
        CheckpointError: naming the key, what was expected and what was given.
    """
    for name in SECTIONS:
        if name not in config:
            raise CheckpointError(f"{source}: a recipe needs a section {name!r}; this one has {sorted(config)}"[:600])
    for name in (*SECTIONS, *OPTIONAL):
        _mapping(config.get(name), name, source, absent=name in OPTIONAL)
    _check_meta(config["meta"], source)
    _check_cameras(config.get("cameras"), source)
    for name, least in SIZES.items():
        required = name in ("steps", "chunk")
        _whole(config.get(name), name, source, least=least, absent=not required)
    _check_layout(config["layout"], config["cameras"], source)
    for group in (*GROUPS[1:], "targets"):
        for name, part in (config.get(group) or {}).items():
            _check_part(part, f"{group}.{name}", source)
    for name, part in config["losses"].items():
        if isinstance(part.get("weight"), bool) or not isinstance(part.get("weight"), int | float):
            raise _wrong(source, f"losses.{name}.weight", "a number", part.get("weight"))


def sizes_of(layout: Mapping[str, Any], cameras: list[str]) -> Iterator[int]:
    """Yield the tokens per step of every group of a checked layout, resolved or not."""
    for side in ("context", "queries"):
        for size in (layout.get(side) or {}).values():
            each = size["per_camera"] if isinstance(size, Mapping) else None
            if isinstance(each, Mapping):
                yield sum(each.values())
            else:
                yield size if each is None else each * len(cameras)


def _check_meta(meta: Mapping[str, Any], source: str) -> None:
    for key in ("name", "summary"):
        if not isinstance(meta.get(key), str) or not meta[key].strip():
            raise _wrong(source, f"meta.{key}", "words", meta.get(key))
    for key in ("paper", "benchmark", "license"):
        if not isinstance(meta.get(key), str | None):
            raise _wrong(source, f"meta.{key}", "words", meta[key])


def _check_cameras(cameras: object, source: str) -> None:
    named = isinstance(cameras, list) and all(isinstance(name, str) and name for name in cameras)
    if not named or not cameras or len(set(cameras)) < len(cameras):
        raise _wrong(source, "cameras", "a list of different names", cameras)
    if len(cameras) > CAMERAS:
        raise CheckpointError(f"{source}: cameras has {len(cameras):,} names; at most {CAMERAS} are built unseen")


def _check_layout(layout: Mapping[str, Any], cameras: list[str], source: str) -> None:
    _mapping(layout.get("context"), "layout.context", source)
    for key in ("queries", "edges", "interleave", "untimed", "absent"):
        _mapping(layout.get(key), f"layout.{key}", source, absent=True)
    for side in ("context", "queries"):
        for name, size in (layout.get(side) or {}).items():
            _check_size(size, f"layout.{side}.{name}", cameras, source)
    for query, row in (layout.get("edges") or {}).items():
        for key, edge in _mapping(row, f"layout.edges.{query}", source).items():
            _mapping(edge, f"layout.edges.{query}.{key}", source)
    interleave = layout.get("interleave") or {}
    if interleave:
        _check_keys(interleave.get("groups"), "layout.interleave.groups", source)
        _check_size(interleave.get("shares"), "layout.interleave.shares", cameras, source)


def _check_size(size: object, at: str, cameras: list[str], source: str) -> None:
    """Let pass a whole number, one per camera, or one for each camera by name."""
    if isinstance(size, Mapping) and size.keys() == {"per_camera"}:
        size, at = size["per_camera"], f"{at}.per_camera"
        if isinstance(size, Mapping):
            for name in cameras:
                _whole(size.get(name), f"{at}.{name}", source)
            size = sum(map(int, size.values())) if all(type(each) is int for each in size.values()) else size
    _whole(size, at, source)


def _check_part(part: object, at: str, source: str) -> None:
    known = _mapping(part, at, source)
    _mapping(known.get("module"), f"{at}.module", source)
    learn = _mapping(known.get("learn"), f"{at}.learn", source, absent=True)
    _whole(known.get("ahead"), f"{at}.ahead", source, least=0, absent=True)
    _check_keys(known.get("reads"), f"{at}.reads", source)
    if not at.startswith("losses."):
        _check_keys(known.get("writes"), f"{at}.writes", source)
    for side in learn.keys() & {"reads", "writes"}:
        _check_keys(learn[side], f"{at}.learn.{side}", source)
    declared = known.get("source")
    for text in declared.values() if isinstance(declared, Mapping) else [declared]:
        if not isinstance(text, str | None):
            raise _wrong(source, f"{at}.source", "words", text)


def _check_keys(keys: object, at: str, source: str) -> None:
    """Let pass a list of names and of lists of names."""
    flat = keys if isinstance(keys, list) else [None]
    for key in flat:
        parts = key if isinstance(key, list) and key else [key]
        if not all(isinstance(part, str) and part for part in parts):
            raise _wrong(source, at, "a list of keys", keys)


def _mapping(value: object, at: str, source: str, *, absent: bool = False) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if value is None and absent:
        return {}
    raise _wrong(source, at, "a section", value)


def _whole(value: object, at: str, source: str, *, least: int = 1, absent: bool = False) -> None:
    if value is None and absent:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(source, at, "a whole number (sizes are whole numbers)", value)
    if value < least:
        raise CheckpointError(f"{source}: {at} is {value}; expected a whole number from {least} on")


def _wrong(source: str, at: str, expected: str, given: object) -> CheckpointError:
    what = "nothing" if given is None else f"{type(given).__name__} {str(given)[:80]!r}"
    return CheckpointError(f"{source}: {at}: expected {expected}, given {what}")
