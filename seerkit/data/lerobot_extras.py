"""What a LeRobot data set written by seerkit tells beside LeRobot's own files: ``meta/seerkit.json``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seerkit.data.conventions import Conventions
from seerkit.data.files import write_text
from seerkit.data.lerobot_meta import EXTRAS, Meta, read_json
from seerkit.data.source import Segment, Source, StoreError

FORMAT, VERSION = "seerkit-lerobot", 1
ABOUT = ("instruction", "success", "seed", "task")


@dataclasses.dataclass(frozen=True)
class Extras:
    """Hold what LeRobot's files have no place for.

    Args:
        conventions: what the numbers mean.
        cameras: the feature of every camera.
        depth: the feature of every camera's distances.
        episodes: `ABOUT` of every episode.
        segments: spans with a sentence of their own; ``None`` if sentences belong to whole episodes.
    """

    conventions: Conventions
    cameras: Mapping[str, str]
    depth: Mapping[str, str]
    episodes: Sequence[Mapping[str, Any]]
    segments: Sequence[Segment] | None


def write_extras(path: Path, source: Source, *, cameras: Mapping[str, str], depth: Mapping[str, str]) -> None:
    """Write the file below ``path``."""
    columns = {name: [getattr(episode, name) for episode in source.episodes] for name in ABOUT}
    segments = None if source.segments is None else [dataclasses.asdict(segment) for segment in source.segments]
    told = {"format": FORMAT, "version": VERSION, "conventions": dataclasses.asdict(source.conventions)}
    told |= {"cameras": cameras, "depth": depth, "episodes": columns, "segments": segments}
    write_text(path / EXTRAS, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def read_extras(meta: Meta) -> Extras | None:
    """Read the file, if there is one.

    Raises:
        StoreError: it is damaged, or tells of other episodes or features than the rest of ``meta``.
    """
    file = meta.path / EXTRAS
    if not file.is_file():
        return None
    told = read_json(file)
    if (told.get("format"), told.get("version")) != (FORMAT, VERSION):
        given = told.get("format"), told.get("version")
        raise StoreError(f"{file}: format, version must be {(FORMAT, VERSION)}, got {given}")
    try:
        columns, segments = [told["episodes"][name] for name in ABOUT], told["segments"]
        extras = Extras(
            conventions=Conventions.read(told["conventions"]),
            cameras=dict(told["cameras"]),
            depth=dict(told["depth"]),
            episodes=[dict(zip(ABOUT, line, strict=True)) for line in zip(*columns, strict=True)],
            segments=None if segments is None else [Segment(**segment) for segment in segments],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    if len(extras.episodes) != len(meta.places):
        raise StoreError(
            f"{file} tells of {len(extras.episodes)} episodes, the data set has {len(meta.places)}; it was changed "
            "since: remove the file, and say with options what it said"
        )
    unknown = sorted({*extras.cameras.values(), *extras.depth.values()} - meta.features.keys())
    if unknown or extras.cameras.keys() != extras.conventions.cameras.keys():
        raise StoreError(
            f"{file}: cameras and depth must name features of the data set, got {unknown or extras.cameras}"
        )
    return extras
