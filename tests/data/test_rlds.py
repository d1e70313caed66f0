"""RLDS: what a reader of our own finds in hand-made TFRecord files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seerkit.data.convert import convert
from seerkit.data.formats import format_of, open_source
from seerkit.data.poses import follow, matrices, sixes, steps_between
from seerkit.data.rlds_layouts import GRIPPERS, held
from seerkit.data.source import StoreError
from seerkit.data.tfrecord import crc32c, masked
from tests.data import made, made_rlds

ARM = slice(0, 6)


@pytest.fixture(scope="module")
def droid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_rlds.write(tmp_path_factory.mktemp("rlds") / "droid", made.episodes(3, (7, 9, 5), size=(12, 16)))


def test_checksums_are_the_standard_ones() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"") == 0
    for length in (1, 2, 3, 255, 256, 257, 70_001):
        content = np.random.default_rng(length).bytes(length)
        assert masked(crc32c(content)).to_bytes(4, "little") == made_rlds.checksum(content), length


def test_a_checksum_goes_on_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    content = np.random.default_rng(0).bytes(5000)
    whole = crc32c(content)
    monkeypatch.setattr("seerkit.data.tfrecord.BLOCK_BITS", 9)
    assert crc32c(content) == whole


def test_poses_are_extrinsic_euler_angles() -> None:
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    poses = np.random.default_rng(0).uniform(-1.5, 1.5, (40, 6))
    assert np.allclose(matrices(poses)[:, :3, :3], rotation.from_euler("xyz", poses[:, 3:]).as_matrix())
    assert np.allclose(sixes(matrices(poses)), poses)
    assert np.allclose(follow(poses[0], steps_between(poses[:-1], poses[1:])), poses[1:])
    upright = matrices(np.array([0, 0, 0, 0.3, np.pi / 2, 0.2]))
    assert np.allclose(matrices(sixes(upright)), upright)


def test_what_is_recorded_is_read(droid: Path) -> None:
    source = open_source(droid)
    assert format_of(droid) == "rlds"
    assert not source.in_place
    assert source.conventions.action_scale == (0.02, 0.05)
    assert source.conventions.frame_rate == 15.0
    for index, episode in enumerate(made.episodes(3, (7, 9, 5), size=(12, 16))):
        wanted, got = made_rlds.kept(episode), source.episode(index)
        assert source.episodes[index].instruction == episode["instruction"]
        for name, frames in episode["images"].items():
            assert np.array_equal(got["observation", "image", name].numpy(), frames)
        assert np.array_equal(got["observation", "state"].numpy(), episode["state"])
        assert np.abs(got["action",].numpy() - wanted["action"]).max() < 1e-4
        assert np.array_equal(got["action",].numpy()[:, 6], wanted["action"][:, 6])


def test_the_gripper_follows_the_latest_change() -> None:
    change = np.array([5, 0, -1, 0, 0, 2, 0, -3], np.float64)[:, None]
    assert held(change)[:, 0].tolist() == [1, 1, -1, -1, -1, 1, 1, -1]
    assert GRIPPERS["-1 opens, 0 holds"](change)[:, 0].tolist() == [1, 1, 1, 1, 1, -1, -1, 1]
    assert GRIPPERS["0 opens"](np.array([[0.0], [1.0]]))[:, 0].tolist() == [1, -1]


def test_only_successes_unless_asked(tmp_path: Path) -> None:
    episodes = made.episodes(3, (4,), size=(8, 8), wrist=(8, 8))
    episodes[1]["place"] = "/nfs/lab/failure/2023-01-01/x.h5"
    path = made_rlds.write(tmp_path / "droid", episodes)
    words = [episode["instruction"] for episode in episodes]
    assert [e.instruction for e in open_source(path).episodes] == [words[0], words[2]]
    assert [e.instruction for e in open_source(path, outcome="failure").episodes] == [words[1]]
    everything = open_source(path, outcome="all")
    assert [e.success for e in everything.episodes] == [True, False, True]
    with pytest.raises(ValueError, match="outcome must be one of"):
        open_source(path, outcome="good")


def test_cameras_and_sentences_are_chosen(droid: Path) -> None:
    source = open_source(droid, cameras={"side": "exterior_image_2_left"}, sentence=3)
    assert list(source.frames) == ["side"]
    assert source.instructions == ["third"]
    assert {e.instruction for e in open_source(droid, sentence=2).episodes} == {""}
    with pytest.raises(ValueError, match="sentence must be 1, 2 or 3"):
        open_source(droid, sentence=4)
    with pytest.raises(StoreError, match=r"no field steps/observation/front; it has .*exterior_image_1_left"):
        open_source(droid, cameras={"primary": "front"})


def test_opening_reads_no_picture(droid: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "droid"
    damaged.mkdir()
    for file in (droid / "1.0.0").iterdir():
        content = bytearray(file.read_bytes())
        if ".tfrecord" in file.name:
            content[content.index(b"IDAT") + 9] ^= 1
        (damaged / file.name).write_bytes(content)
    source = open_source(damaged)
    assert len(source.episodes) == 3
    with pytest.raises(StoreError, match=r"tfrecord-00000-of-00002: record 0: checksum .* damaged"):
        source.episode(0)


def test_a_converted_set_says_the_same(droid: Path, tmp_path: Path) -> None:
    source = open_source(droid)
    store = convert(source, tmp_path / "store")
    for index in range(len(source.episodes)):
        wanted, got = source.episode(index), store.episode(index)
        assert all(torch.equal(wanted[key], got[key]) for key in wanted)


def other(path: Path, name: str) -> Path:
    """Write a small set that is not DROID, with scalars and booleans in its action."""
    seen = {"image": {"image": {"shape": {"dimensions": ["6", "5", "3"]}, "dtype": "uint8", "encodingFormat": "png"}}}
    numbers = {"world_vector": ["3"], "rotation_delta": ["3"], "open_gripper": []}
    action: dict[str, Any] = {
        part: {"tensor": {"shape": {"dimensions": size}, "dtype": "float32" if size else "bool", "encoding": "none"}}
        for part, size in numbers.items()
    }
    text = {"text": {}}
    step = {"observation": {"featuresDict": {"features": {**seen, "natural_language_instruction": text}}}}
    step |= {"action": {"featuresDict": {"features": action}}, "is_first": {"tensor": {"dtype": "bool"}}}
    steps = {"sequence": {"feature": {"featuresDict": {"features": step}}, "length": "-1"}}
    path.mkdir()
    (path / "features.json").write_text(json.dumps({"featuresDict": {"features": {"steps": steps}}}))
    info = {"name": name, "fileFormat": "tfrecord", "splits": [{"name": "train", "shardLengths": ["1"]}]}
    (path / "dataset_info.json").write_text(json.dumps(info))
    fields = {
        "steps/observation/image": made_rlds.encode(np.zeros((2, 3, 6, 5), np.uint8)),
        "steps/observation/natural_language_instruction": [b"pick", b"pick"],
        "steps/action/world_vector": np.array([[1, 2, 3], [4, 5, 6]], np.float32),
        "steps/action/rotation_delta": np.array([[7, 8, 9], [-1, -2, -3]], np.float32),
        "steps/action/open_gripper": np.array([1, 0]),
        "steps/is_first": np.array([1, 0]),
    }
    shard = path / f"{name}-train.tfrecord-00000-of-00001"
    shard.write_bytes(made_rlds.record(made_rlds.example(fields)))
    return path


def test_other_sets_are_described_by_options(tmp_path: Path) -> None:
    path = other(tmp_path / "bridge", "bridge")
    with pytest.raises(StoreError, match=r"bridge is not DROID.*missing: action_scale, frame_rate.*steps/action/world"):
        open_source(path)
    source = open_source(path, fields={"action_scale": [0.1, 0.2], "frame_rate": 5})
    assert source.conventions.action_scale == (0.1, 0.2)
    assert source.conventions.frame_rate == 5.0
    assert source.state is None
    got = source.episode(0)
    assert got["action",].tolist() == [[1, 2, 3, 7, 8, 9, 1], [4, 5, 6, -1, -2, -3, -1]]
    assert source.instructions == ["pick"]


def test_an_unknown_set_is_described_whole(tmp_path: Path) -> None:
    path = other(tmp_path / "mine", "mine")
    told = {
        "cameras": {"primary": "image"},
        "action": ["action/world_vector[0:2]", "action/rotation_delta", "action/world_vector[2:3]"],
        "action_scale": [1, 1],
        "frame_rate": 10,
    }
    with pytest.raises(StoreError, match=r"action must have 7 numbers, .* have 6"):
        open_source(path, fields=told).episode(0)
    told["action"] = ["action/rotation_delta", "action/world_vector", "action/open_gripper"]
    assert open_source(path, fields=told).episode(0)["action",][0].tolist() == [7, 8, 9, 1, 2, 3, 1]
    with pytest.raises(ValueError, match=r"fields must be some of .* got \['camera'\]"):
        open_source(path, fields={**told, "camera": 1})
    with pytest.raises(ValueError, match="written like observation/state"):
        open_source(path, fields={**told, "action": ["action[7]"]})
    with pytest.raises(ValueError, match="action_gripper must be one of"):
        open_source(path, fields={**told, "action_gripper": "opens"})
