"""Any file's tensors are read, none of its code ever runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seerkit.convert.read import WeightsError, read_weights


class Payload:
    """Pickles to a call that creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Parameter(torch.randn(3, 4).half())
        self.register_buffer("whole", torch.arange(5))
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.whole.sum()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Inner(), Inner())
        self.head = nn.Linear(3, 2)
        self.register_buffer("view", torch.arange(12.0).reshape(3, 4).T[1:])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"a.weight": torch.randn(2, 3), "b": torch.arange(4)}


@pytest.mark.parametrize("wrapper", [None, "model_state_dict", "state_dict", "model", "r3m"])
def test_torch_files_with_and_without_a_wrapper(state: dict[str, Tensor], wrapper: str | None, tmp_path: Path) -> None:
    torch.save(
        state if wrapper is None else {"epoch": 1, wrapper: OrderedDict(state), "args": ["x"]}, tmp_path / "w.pt"
    )
    check(read_weights(tmp_path / "w.pt"), state)


def test_old_torch_files(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    check(read_weights(tmp_path / "w.pth"), state)


def test_safetensors(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.safetensors")
    check(read_weights(tmp_path / "w.safetensors"), state)


@pytest.mark.parametrize("traced", [False, True])
def test_torchscript_archives(traced: bool, tmp_path: Path) -> None:
    net = Net()
    module = torch.jit.trace(net, torch.randn(3)) if traced else torch.jit.script(net)
    torch.jit.save(module, tmp_path / "net.pt")
    check(read_weights(tmp_path / "net.pt"), net.state_dict())


@pytest.mark.parametrize("wrap", ["top", "beside", "inside"])
def test_a_payload_is_refused_and_never_runs(wrap: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    bad = Payload(tmp_path / "ran")
    given = {"top": bad, "beside": {"model": state, "args": bad}, "inside": {"model": {**state, "x": bad}}}[wrap]
    torch.save(given, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"needs code to be read \(posix.mkdir\).*save the state dict alone"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, *, squeeze: bool = False) -> Path:
    """Write the skeleton of a TorchScript archive around a pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if squeeze else zipfile.ZIP_STORED) as file:
        file.writestr("net/data.pkl", pickled)
        file.writestr("net/constants.pkl", pickle.dumps(()))
        for key, data in (storages or {}).items():
            file.writestr(f"net/data/{key}", data)
    return path


def test_a_payload_in_an_archive_is_refused_and_never_runs(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.pt", pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    with pytest.raises(WeightsError, match=r"archive asks for posix.mkdir.*expected tensors"):
        read_weights(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "torch load", "torch._utils _rebuild_parameter_with_state", "os system"]
)
def test_an_archive_may_name_tensors_only(name: str, tmp_path: Path) -> None:
    module, what = name.split()
    path = archive(tmp_path / "net.pt", f"c{module}\n{what}\n.".encode())
    with pytest.raises(WeightsError, match=f"archive asks for {module}.{what}"):
        read_weights(path)


class _Storage(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return (
            ("storage", torch.FloatStorage, "0", "cpu", obj[0])
            if isinstance(obj, tuple) and obj[1:] == ("f32",)
            else None
        )


def tensor_pickle(numel: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """Pickle a module with one tensor that claims these sizes."""

    class Rebuilt:
        def __reduce__(self) -> object:
            return torch._utils._rebuild_tensor_v2, ((numel, "f32"), offset, size, stride, False, OrderedDict())

    stream = io.BytesIO()
    _Storage(stream, protocol=2).dump({"w": Rebuilt()})
    inner = stream.getvalue()[2:-1]  # without PROTO and STOP
    return b"\x80\x02c__torch__\nNet\n)\x81" + inner + b"b."


@pytest.mark.parametrize(
    ("numel", "size", "stride", "offset", "stored"),
    [
        (4, (2, 3), (3, 1), 0, 16),  # more than stored
        (4, (2, 2), (2, 1), -1, 16),  # before the start
        (4, (10**9, 10**3), (0, 0), 0, 16),  # a bomb of repeated numbers
        (400, (2, 2), (2, 1), 0, 16),  # a storage shorter than it says
    ],
)
def test_sizes_that_lie(
    numel: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int, stored: int, tmp_path: Path
) -> None:
    good = archive(tmp_path / "good.pt", tensor_pickle(4, (2, 2), (2, 1)), {"0": struct.pack("4f", 1, 2, 3, 4)})
    assert read_weights(good)["w"].tolist() == [[1, 2], [3, 4]]
    path = archive(tmp_path / "net.pt", tensor_pickle(numel, size, stride, offset), {"0": bytes(stored)})
    with pytest.raises(WeightsError):
        read_weights(path)


def test_squeezed_storages_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.pt", tensor_pickle(1 << 22, (1 << 22,), (1,)), {"0": bytes(1 << 24)}, squeeze=True)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(WeightsError, match="storage '0'"):
        read_weights(path)


def test_a_repeated_number_is_no_big_tensor(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"'w' claims shape \(1000000000000,\)"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_files(name: str, damage: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / name
    save_file(state, path) if name.endswith("tensors") else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"\xffgarbage" * 40, "empty": b""}[damage])
    with pytest.raises(WeightsError, match=r"damaged|not a whole"):
        read_weights(path)


@pytest.mark.parametrize("kind", ["torch", "old", "archive", "squeezed"])
def test_any_bytes_but_the_right_ones_are_damage(kind: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    """Whatever unpickling and unzipping end in is said in words of ours; torch's advise to trust the file."""
    if kind in ("torch", "old"):
        torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=kind == "torch")
    else:
        storage = {"0": struct.pack("4f", 1, 2, 3, 4)}
        archive(tmp_path / "w.pt", tensor_pickle(4, (2, 2), (2, 1)), storage, squeeze=kind == "squeezed")
    whole, draw, refused = (tmp_path / "w.pt").read_bytes(), random.Random(kind), []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 4, 16])):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        (tmp_path / "w.pt").write_bytes(damaged)
        try:
            read_weights(tmp_path / "w.pt")
        except WeightsError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert [said for said in refused if "weights_only" in said or str(tmp_path / "w.pt") not in said] == []


def test_a_huge_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(WeightsError, match=r"not a whole .safetensors file"):
        read_weights(tmp_path / "w.safetensors")
    entry = {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
    header = json.dumps(entry).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(WeightsError, match=r"not a whole .safetensors file"):
        read_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({}, "something else than named tensors"),
        ({"epoch": 1, "lr": 0.1}, r"\['epoch', 'lr'\]"),
        ({"model": {"w": torch.zeros(1)}, "state_dict": {}}, "under one of these only"),
        ({"w": torch.zeros(2).to_sparse()}, "dense"),
    ],
)
def test_other_content(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "w.pt")


def test_absent_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        read_weights(tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError, match="a folder"):
        read_weights(tmp_path)


def check(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor), name
