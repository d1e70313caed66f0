"""A folder written by TensorFlow Datasets, read without it: its fields, its splits, its shards."""

from __future__ import annotations

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

from seerkit.data.files import inside
from seerkit.data.source import StoreError

FEATURES, INFO = "features.json", "dataset_info.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
PLAIN = {"", "none"}
"""How a tensor is encoded if its numbers stand in the record as they are."""


@dataclasses.dataclass(frozen=True)
class Field:
    """Say what one field of a record is.

    Args:
        kind: ``"image"``, ``"text"``, ``"float"`` or ``"int64"`` (which holds booleans and bytes, too).
        shape: of one step's value; -1 for what varies.
    """

    kind: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Describe one version of a data set.

    Args:
        path: its folder.
        name: its name, such as ``"droid"``.
        fields: by the name a record gives it, such as ``steps/observation/wrist_image_left``.
        shards: the files of the chosen split, and how many records each has.
    """

    path: Path
    name: str
    fields: dict[str, Field]
    shards: list[tuple[Path, int]]


def find(path: Path) -> Path | None:
    """Return the folder that holds a data set's `FEATURES`: ``path``, or the only version below it."""
    if (path / FEATURES).is_file():
        return path
    versions = sorted(file.parent for file in path.glob(f"*/{FEATURES}")) if path.is_dir() else []
    return versions[0] if len(versions) == 1 else None


def describe(path: Path, *, split: str) -> DataSet:
    """Read a data set's description; no record is opened.

    Args:
        path: the folder of the data set or of one version.
        split: such as ``"train"``.

    Raises:
        StoreError: a description is missing or damaged, a shard is missing, or there is no such split.
    """
    folder = find(path)
    if folder is None:
        versions = ", ".join(sorted(file.parent.name for file in path.glob(f"*/{FEATURES}")))
        raise StoreError(
            f"{path} must hold {FEATURES}, or one folder that does"
            + (f"; choose one of the versions {versions}" if versions else "")
        )
    features, info = _json(folder / FEATURES), _json(folder / INFO)
    fields: dict[str, Field] = {}
    try:
        _collect(features, "", fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{folder / FEATURES} does not describe features as TFDS does: {error!r}") from error
    if info.get("fileFormat", "tfrecord") != "tfrecord":
        raise StoreError(f"{folder / INFO}: fileFormat must be tfrecord, got {info['fileFormat']!r}")
    return DataSet(folder, str(info.get("name", folder.name)), fields, _shards(folder, info, split))


def _shards(folder: Path, info: dict[str, Any], split: str) -> list[tuple[Path, int]]:
    splits = {str(one.get("name")): one for one in info.get("splits", [])}
    if split not in splits:
        near = difflib.get_close_matches(split, list(splits), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise StoreError(f"{folder / INFO}: split must be one of {sorted(splits)}, got {split!r}{hint}")
    try:
        lengths = [int(length) for length in splits[split]["shardLengths"]]
        template = str(splits[split].get("filepathTemplate") or TEMPLATE)
        words = {"DATASET": str(info["name"]), "SPLIT": split, "FILEFORMAT": "tfrecord"}
        numbers = [_numbers(index, len(lengths)) for index in range(len(lengths))]
        files = [inside(folder, template.format(**words, **number)) for number in numbers]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StoreError(f"{folder / INFO}: split {split!r} is not as TFDS writes it: {error!r}") from error
    for file in files:
        if not file.is_file():
            raise StoreError(f"{file} is missing; {INFO} counts {len(files)} shards of split {split!r}")
    return list(zip(files, lengths, strict=True))


def _numbers(index: int, count: int) -> dict[str, str]:
    numbers = {"SHARD_INDEX": f"{index:05d}", "NUM_SHARDS": f"{count:05d}"}
    return numbers | {"SHARD_X_OF_Y": f"{index:05d}-of-{count:05d}"}


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    except ValueError as error:
        raise StoreError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise StoreError(f"{file} must hold an object, got {type(content).__name__}")
    return content


def _collect(feature: dict[str, Any], name: str, fields: dict[str, Field]) -> None:
    """Walk down a description; names are joined by slashes, as TFDS joins them in a record."""
    if "featuresDict" in feature:
        for part, inner in feature["featuresDict"]["features"].items():
            _collect(inner, f"{name}/{part}" if name else part, fields)
    elif "sequence" in feature:
        _collect(feature["sequence"]["feature"], name, fields)
    elif "image" in feature:
        fields[name] = Field("image", _shape(feature["image"]))
    elif "text" in feature:
        fields[name] = Field("text", ())
    elif "classLabel" in feature:
        fields[name] = Field("int64", ())
    elif "tensor" in feature:
        about = feature["tensor"]
        kind = _kind(str(about["dtype"])) if str(about.get("encoding", "")).lower() in PLAIN else "encoded"
        fields[name] = Field(kind, _shape(about))


def _kind(dtype: str) -> str:
    if dtype in ("string", "object", "bytes"):
        return "text"
    return "float" if "float" in dtype else "int64"


def _shape(about: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in about.get("shape", {}).get("dimensions", []))
