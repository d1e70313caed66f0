"""Write episodes as TensorFlow Datasets would write DROID: TFRecord shards and their two descriptions.

Nothing of the reader is used: checksums are computed byte by byte, messages are put together by hand.

What the format does not keep: seeds. Poses are float32, so an arm's action comes back within 1e-4. DROID as Seer reads
it has no gripper command, only how far the gripper is closed: see `kept`.
"""

from __future__ import annotations

import io
import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seerkit.data.poses import follow

ROUNDED = {"action": 1e-4}
"""Which arrays come back rounded, and by how much at most."""

Values = Sequence[bytes] | np.ndarray


def write(path: Path, episodes: Sequence[Mapping[str, Any]], *, shards: int = 2) -> Path:
    """Write ``path/1.0.0`` and return ``path``."""
    folder = path / "1.0.0"
    folder.mkdir(parents=True)
    parts = [list(part) for part in np.array_split(np.arange(len(episodes)), shards)]
    for number, part in enumerate(parts):
        content = b"".join(record(example(droid(episodes[index]))) for index in part)
        folder.joinpath(f"droid-train.tfrecord-{number:05d}-of-{shards:05d}").write_bytes(content)
    sizes = {name: frames.shape[2:] for name, frames in episodes[0]["images"].items()}
    folder.joinpath("features.json").write_text(json.dumps(features(sizes)))
    split = {"name": "train", "shardLengths": [str(len(part)) for part in parts], "numBytes": "0"}
    split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info = {"name": "droid", "version": "1.0.0", "fileFormat": "tfrecord", "splits": [split]}
    folder.joinpath("dataset_info.json").write_text(json.dumps(info))
    return path


def droid(episode: Mapping[str, Any]) -> dict[str, Values]:
    """Turn an episode into the fields of a DROID record; pictures are PNG so that nothing is lost."""
    state, action = episode["state"].astype(np.float64), episode["action"].astype(np.float64)
    length = len(state)
    arm = follow(state[0, :6], action[:, :6] * np.repeat((0.02, 0.05), 3))
    words = [episode["instruction"].encode()] * length
    views = {"exterior_image_1_left": "primary", "exterior_image_2_left": "primary", "wrist_image_left": "wrist"}
    pictures = {f"steps/observation/{field}": encode(episode["images"][name]) for field, name in views.items()}
    flag = np.arange(length)
    return {
        **pictures,
        "steps/observation/cartesian_position": state[:, :6].astype(np.float32),
        "steps/observation/gripper_position": closed(state[:, 6])[:, None],
        "steps/observation/joint_position": np.zeros((length, 7), np.float32),
        "steps/action_dict/cartesian_position": arm.astype(np.float32),
        "steps/is_first": (flag == 0).astype(np.int64),
        "steps/is_last": (flag == length - 1).astype(np.int64),
        "steps/language_instruction": words,
        "steps/language_instruction_2": [b""] * length,
        "steps/language_instruction_3": [b"third"] * length,
        "episode_metadata/file_path": [episode.get("place", "/nfs/lab/success/2023-01-01/x.h5").encode()],
    }


def kept(episode: Mapping[str, Any]) -> dict[str, Any]:
    """Return the episode as DROID can tell it: the gripper's command is guessed from how its position changes."""
    position = closed(episode["state"][:, 6])
    commands = [1.0]
    for before, now in itertools.pairwise(position):
        if now > before:
            commands.append(-1.0)
        elif now < before:
            commands.append(1.0)
        else:
            commands.append(commands[-1])
    action = episode["action"].copy()
    action[:, 6] = commands
    return {**episode, "action": action}


def closed(open_state: np.ndarray) -> np.ndarray:
    """Return how far the gripper is closed, 0 to 1, float32; it holds still for two steps, then creeps."""
    creep = np.maximum(np.arange(len(open_state)) - 2, 0) // 2 * 1e-4
    return np.where(open_state > 0, 0.01 + creep, 0.6 - creep).astype(np.float32)


def features(sizes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return ``features.json``."""

    def image(name: str) -> dict[str, Any]:
        shape = {"dimensions": [*map(str, sizes[name]), "3"]}
        return {"pythonClassName": "Image", "image": {"shape": shape, "dtype": "uint8", "encodingFormat": "jpeg"}}

    def tensor(dtype: str, *shape: int) -> dict[str, Any]:
        size = {"dimensions": [str(number) for number in shape]} if shape else {}
        return {"pythonClassName": "Tensor", "tensor": {"shape": size, "dtype": dtype, "encoding": "none"}}

    def group(**inner: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"pythonClassName": "FeaturesDict", "featuresDict": {"features": inner}}

    text = {"pythonClassName": "Text", "text": {}}
    seen = group(
        exterior_image_1_left=image("primary"),
        exterior_image_2_left=image("primary"),
        wrist_image_left=image("wrist"),
        cartesian_position=tensor("float64", 6),
        gripper_position=tensor("float64", 1),
        joint_position=tensor("float64", 7),
    )
    step = group(
        observation=seen,
        action_dict=group(cartesian_position=tensor("float64", 6)),
        is_first=tensor("bool"),
        is_last=tensor("bool"),
        language_instruction=text,
        language_instruction_2=text,
        language_instruction_3=text,
    )
    steps = {"pythonClassName": "Dataset", "sequence": {"feature": step, "length": "-1"}}
    return group(steps=steps, episode_metadata=group(file_path=text))


def encode(frames: np.ndarray) -> list[bytes]:
    blobs = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame.transpose(1, 2, 0)).save(buffer, "PNG")
        blobs.append(buffer.getvalue())
    return blobs


def example(fields: Mapping[str, Values]) -> bytes:
    """Serialise a ``tf.train.Example``."""
    entries = b""
    for name, values in fields.items():
        if isinstance(values, np.ndarray) and values.dtype == np.float32:
            kind, content = 2, part(1, values.astype("<f4").tobytes())
        elif isinstance(values, np.ndarray):
            kind, content = 3, part(1, b"".join(varint(int(value) % 2**64) for value in values.flat))
        else:
            kind, content = 1, b"".join(part(1, value) for value in values)
        entries += part(1, part(1, name.encode()) + part(2, part(kind, content)))
    return part(1, entries)


def part(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def record(content: bytes) -> bytes:
    """Frame a record."""
    length = struct.pack("<Q", len(content))
    return length + checksum(length) + content + checksum(content)


def checksum(content: bytes) -> bytes:
    """Return TFRecord's masked CRC-32C, bit by bit."""
    state = 0xFFFFFFFF
    for octet in content:
        state ^= octet
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    state ^= 0xFFFFFFFF
    return struct.pack("<I", ((state >> 15 | state << 17) + 0xA282EAD8) & 0xFFFFFFFF)
