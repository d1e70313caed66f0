"""Damaged RLDS data: each is refused with the file and the field, and leaves nothing behind when it is converted."""

from __future__ import annotations

import json
import re
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seerkit.data.check import check
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import StoreError
from tests.data import made, made_rlds

POSE = "steps/observation/cartesian_position"
COMMAND = "steps/action_dict/cartesian_position"
GRIPPER = "steps/observation/gripper_position"
PICTURE = "steps/observation/wrist_image_left"
SHARD = "droid-train.tfrecord-00000-of-00001"
Break = Callable[[Path], object]


def episode() -> dict[str, Any]:
    return made_rlds.droid(made.episodes(1, (5,), size=(8, 12), wrist=(8, 8))[0])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    episodes = made.episodes(2, (5,), size=(8, 12), wrist=(8, 8))
    return made_rlds.write(tmp_path_factory.mktemp("sound") / "droid", episodes, shards=1) / "1.0.0"


def fields(change: Callable[[dict[str, Any]], object]) -> Break:
    """Write the first record anew with other fields."""

    def damage(folder: Path) -> None:
        content = episode()
        change(content)
        record = made_rlds.record(made_rlds.example(content))
        folder.joinpath(SHARD).write_bytes(record + record)

    return damage


def written(field: str, value: Any) -> Break:  # noqa: ANN401
    return fields(lambda content: content.update({field: value}))


def without(field: str) -> Break:
    return fields(lambda content: content.pop(field))


def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Break:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def described(name: str, change: Callable[[dict[str, Any]], object]) -> Break:
    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return damage


def not_finite() -> np.ndarray:
    poses = episode()[POSE]
    poses[3, 1] = np.nan
    return poses


def flip(content: bytes) -> bytes:
    place = content.rindex(b"IDAT") + 9
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


BROKEN: dict[str, tuple[Break, str]] = {
    "shard missing": (lambda folder: (folder / SHARD).unlink(), rf"{SHARD} is missing; .* counts 1 shards"),
    "shard empty": (bytes_of(SHARD, lambda _: b""), rf"{SHARD} must have 2 records .* it has 0"),
    "shard cut in a record": (bytes_of(SHARD, lambda c: c[:-100]), rf"{SHARD}: record 1 must end at byte .* ends at"),
    "shard cut in a header": (bytes_of(SHARD, lambda c: c + c[:5]), rf"{SHARD}: record 2 must have a header of 12"),
    "record missing": (bytes_of(SHARD, lambda c: c[: len(c) // 2]), SHARD),
    "not a TFRecord file": (bytes_of(SHARD, lambda _: b"PK" * 500), rf"{SHARD}: record 0 at byte 0: its length is"),
    "length damaged": (
        bytes_of(SHARD, lambda c: bytes([c[0] ^ 1]) + c[1:]),
        rf"{SHARD}: record 0 .* length is damaged",
    ),
    "a byte flipped": (bytes_of(SHARD, flip), rf"{SHARD}: record 1: checksum .* recorded .*: damaged"),
    "not an example": (
        lambda folder: (folder / SHARD).write_bytes(made_rlds.record(b"\x0a\xff\x01") * 2),
        rf"{SHARD} record 0: not a tf.train.Example: field 1 .* must end by byte 3",
    ),
    "no features.json": (lambda folder: (folder / "features.json").unlink(), "must hold features.json"),
    "features.json cut": (bytes_of("features.json", lambda c: c[:50]), r"features\.json is not valid JSON"),
    "features.json of something else": (
        described("features.json", lambda c: c["featuresDict"].pop("features")),
        r"features\.json does not describe features as TFDS does: KeyError\('features'\)",
    ),
    "no dataset_info.json": (
        lambda folder: (folder / "dataset_info.json").unlink(),
        r"dataset_info\.json cannot be read",
    ),
    "another file format": (
        described("dataset_info.json", lambda c: c.update(fileFormat="array_record")),
        r"dataset_info\.json: fileFormat must be tfrecord, got 'array_record'",
    ),
    "no such split": (
        described("dataset_info.json", lambda c: c["splits"][0].update(name="trian")),
        r"split must be one of \['trian'\], got 'train'; did you mean 'trian'\?",
    ),
    "shard lengths missing": (
        described("dataset_info.json", lambda c: c["splits"][0].pop("shardLengths")),
        r"dataset_info\.json: split 'train' is not as TFDS writes it: KeyError\('shardLengths'\)",
    ),
    "shard lengths wrong": (
        described("dataset_info.json", lambda c: c["splits"][0].update(shardLengths=["3"])),
        rf"{SHARD} must have 3 records .* it has 2",
    ),
    "field missing": (without(POSE), rf"{SHARD} record 0 lacks {POSE}; it has .*{GRIPPER}"),
    "picture missing": (without(PICTURE), rf"{SHARD} record 0 lacks {PICTURE}"),
    "steps uncounted": (written("steps/is_first", np.zeros(0, np.int64)), r"record 0.*is_first"),
    "a float that is an integer": (
        written(GRIPPER, np.ones((5, 1), np.int64)),
        rf"{SHARD} record 0: {GRIPPER} must be a list of float, it is one of int64",
    ),
    "too few numbers": (
        written(COMMAND, np.zeros((4, 6), np.float32)),
        rf"record 0: {COMMAND} must have 5 steps .* got 24",
    ),
    "not finite": (written(POSE, not_finite()), rf"{SHARD} record 0: {POSE} must be finite, step 3 is not"),
    "too few pictures": (
        written(PICTURE, episode()[PICTURE][:4]),
        rf"record 0: {PICTURE} must have 5 pictures, it has 4",
    ),
    "a picture cut": (
        written(PICTURE, [blob[: 40 if step == 2 else None] for step, blob in enumerate(episode()[PICTURE])]),
        rf"record 0: {PICTURE} step 2: the picture cannot be decoded",
    ),
    "a picture of another size": (
        written(PICTURE, made_rlds.encode(np.zeros((5, 3, 8, 9), np.uint8))),
        rf"record 0: {PICTURE} step 0 must be \(3, 8, 8\), it is \(3, 8, 9\)",
    ),
    "a sentence that is no text": (
        written("steps/language_instruction", [b"\xff\xfe"] * 5),
        rf"{SHARD} record 0: steps/language_instruction must be UTF-8",
    ),
    "a tensor that is compressed": (
        described(
            "features.json",
            lambda c: c["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"][
                "action_dict"
            ]["featuresDict"]["features"]["cartesian_position"]["tensor"].update(encoding="zlib"),
        ),
        rf"{COMMAND} must be numbers of a fixed shape, it is .*encoded",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_damage_is_named(name: str, sound: Path, tmp_path: Path) -> None:
    damage, message = BROKEN[name]
    folder = tmp_path / "1.0.0"
    shutil.copytree(sound, folder)
    damage(folder)
    began = time.monotonic()
    with pytest.raises(StoreError, match=message) as caught:
        convert(open_source(folder, format="rlds"), tmp_path / "store")
    assert time.monotonic() - began < 5
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_check_goes_on_after_damage(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "1.0.0"
    shutil.copytree(sound, folder)
    BROKEN["a byte flipped"][0](folder)
    found = list(check(open_source(folder)))
    assert [finding.episode for finding in found] == [1]
    assert re.search(r"record 1: checksum .* damaged", found[0].text)


def test_a_folder_of_several_versions_is_not_guessed(sound: Path, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.0.1"):
        shutil.copytree(sound, tmp_path / "droid" / version)
    with pytest.raises(StoreError, match=r"choose one of the versions 1\.0\.0, 1\.0\.1"):
        open_source(tmp_path / "droid", format="rlds")
    assert len(open_source(tmp_path / "droid" / "1.0.1").episodes) == 2


def test_a_huge_length_is_refused_without_reading(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "1.0.0"
    shutil.copytree(sound, folder)
    length = struct.pack("<Q", 2**60)
    folder.joinpath(SHARD).write_bytes(length + made_rlds.checksum(length) + b"x" * 100)
    with pytest.raises(StoreError, match=rf"{SHARD}: record 0 must end at byte {2**60 + 16}, the file ends at 112"):
        open_source(folder)
