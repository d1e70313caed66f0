"""Data from somebody else: nothing in it runs, reaches out of its folder or fills the memory."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from seerkit.data import npz
from seerkit.data.conventions import ConventionError, Conventions
from seerkit.data.formats import open_source
from seerkit.data.jpeg import BlobError, decode
from seerkit.data.lerobot_folder import write_lerobot
from seerkit.data.lerobot_rows import decode_picture
from seerkit.data.npz import read_npz
from seerkit.data.readers.step_file import StepFile
from seerkit.data.readers.video import read_captions
from seerkit.data.source import StoreError
from seerkit.data.store import Store
from seerkit.data.tfds import describe
from tests.data import stores


@pytest.mark.parametrize("name", ["../../wrist", "/tmp/wrist", "a/b", "", "..", "."])
def test_a_camera_cannot_be_written_elsewhere(name: str) -> None:
    with pytest.raises(ConventionError, match="a camera's name is made of"):
        Conventions(cameras={name: (3, 8, 8)})


def test_nor_can_one_of_a_store_or_of_a_lerobot_data_set(tmp_path: Path) -> None:
    stores.write(tmp_path / "store")
    folder = write_lerobot(Store(tmp_path / "store"), tmp_path / "lerobot", codec="images")
    for file in (tmp_path / "store/store.json", folder / "meta/seerkit.json"):
        content = json.loads(file.read_text())
        content["conventions"]["cameras"]["../../wrist"] = content["conventions"]["cameras"].pop("wrist")
        file.write_text(json.dumps(content))
        with pytest.raises(StoreError, match=r"\.json.*camera's name"):
            open_source(file.parent if file.name == "store.json" else folder)


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/secret.mp4", "clips/../../secret.mp4"])
def test_captions_name_clips_of_their_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.mp4").touch()
    file = tmp_path / "clips" / "captions.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps({"file": name, "caption": "open the drawer"}))
    with pytest.raises(StoreError, match="line 1: file: expected a path inside"):
        read_captions(file)


def test_a_lerobot_data_set_names_files_of_its_folder(tmp_path: Path) -> None:
    folder = write_lerobot(stores.write(tmp_path / "store"), tmp_path / "lerobot", codec="images")
    file = folder / "meta/info.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "data_path": "../elsewhere/{chunk_index}.parquet"}))
    with pytest.raises(StoreError, match=r"data_path must be a pattern for a path.*expected a path inside"):
        open_source(folder)


@pytest.mark.parametrize("template", ["../{DATASET}-{SHARD_X_OF_Y}", "{DATASET.nothing}"])
def test_an_rlds_data_set_names_files_of_its_folder(tmp_path: Path, template: str) -> None:
    (tmp_path / "features.json").write_text("{}")
    split = {"name": "train", "shardLengths": ["1"], "filepathTemplate": template}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"name": "made", "splits": [split]}))
    with pytest.raises(StoreError, match="split 'train' is not as TFDS writes it"):
        describe(tmp_path, split="train")


def test_a_picture_that_claims_to_be_huge_is_named() -> None:
    with pytest.raises(BlobError, match=r"here: .* pixels"):
        decode(_png(20_000, 20_000), where="here")
    with pytest.raises(StoreError, match=r"here cannot be decoded .* pixels"):
        decode_picture(_png(20_000, 20_000), where="here", channels=3)


def test_no_other_program_is_started_for_a_picture() -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    with pytest.raises(BlobError, match="cannot identify image file"):
        decode(script, where="here")


def test_an_array_that_claims_to_be_huge_is_not_decompressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "LARGEST", 1 << 20)
    file = tmp_path / "other.npz"
    np.savez_compressed(file, small=np.zeros(3), large=np.zeros(1 << 18))
    assert zipfile.ZipFile(file).getinfo("large.npy").compress_size < 1 << 14
    with pytest.raises(StoreError, match=r"other\.npz: large must have at most 1048576 bytes"):
        read_npz(file, ["small", "large"])
    with StepFile(file) as step, pytest.raises(StoreError, match=r"other\.npz: large must have at most"):
        step.numbers("large", 3)


def test_a_sentence_may_hold_what_separates_lines_of_text(tmp_path: Path) -> None:
    (tmp_path / "1.mp4").touch()
    sentence = "open\u2028the\x85drawer"
    line = json.dumps({"file": "1.mp4", "caption": sentence}, ensure_ascii=False)
    (tmp_path / "captions.jsonl").write_text(line + "\n", encoding="utf-8")
    assert [clip.caption for clip in read_captions(tmp_path / "captions.jsonl")] == [sentence]


def _png(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
