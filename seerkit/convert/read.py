"""Read the tensors of any weights file without running a line of what the file may bring along."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

WRAPPERS = ("model_state_dict", "state_dict", "model", "r3m")
"""Under which name training programs put the tensors beside their optimiser, epoch and so on."""

DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
ONLY_TENSORS = "expected tensors, their names and plain numbers"
DAMAGE = (
    *(RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError),
    *(MemoryError, struct.error, zlib.error, zipfile.BadZipFile),
)
"""What unpickling and unzipping bytes that are not what they say can end in."""


class WeightsError(ValueError):
    """A file of weights that cannot be read or does not fit; the message names what is wrong and what would do."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the named tensors of a ``.safetensors`` file, a file of `torch.save`, or a TorchScript archive.

    Whatever a training program stores beside them (optimiser, epoch) is left out; see `WRAPPERS`. Nothing in the file
    is ever executed: `torch.load` runs with ``weights_only=True``, and a TorchScript archive (OpenAI's CLIP) is read
    by an unpickler that knows tensors, dictionaries and inert stand-ins for the archive's classes.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: the file is damaged, needs code to be read, or holds something else than named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a file of weights, but {path} is {'a folder' if path.is_dir() else 'absent'}"
        )
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise WeightsError(f"{path}: tensor {name!r} is {tensor.layout}; {ONLY_TENSORS}, dense ones")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise WeightsError(f"{path}: tensor {name!r} claims shape {tuple(tensor.shape)} but stores less")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, ValueError, RuntimeError, OSError, OverflowError) as error:
        raise WeightsError(f"{path} is not a whole .safetensors file: {error}") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    return _read_torchscript(archive, path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL:? (\S+)", str(error))
        if asked is None:
            raise WeightsError(f"{path} is no file of weights, or a damaged one; {ONLY_TENSORS}") from error
        raise WeightsError(
            f"{path} needs code to be read ({asked[1]}), which could do anything to this machine, so it was not run; "
            f"{ONLY_TENSORS}. Where the file comes from, save the state dict alone, best as .safetensors"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path} is no file of weights, or a damaged one: {error}") from error
    except DAMAGE as error:  # not in torch's words, which advise to run what the file brings along
        raise WeightsError(f"{path} is no file of weights, or a damaged one; {ONLY_TENSORS}") from error
    return unwrap(loaded, str(path))


def unwrap(loaded: object, source: str) -> dict[str, Tensor]:
    """Return the named tensors of what `torch.load` gave, looking under `WRAPPERS`.

    Raises:
        WeightsError: if there are none, or other things between them.
    """
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{source} holds a {type(loaded).__name__}; expected named tensors")
    inside = [name for name in WRAPPERS if isinstance(loaded.get(name), Mapping)]
    if len(inside) > 1:
        raise WeightsError(f"{source} holds {inside}; expected named tensors under one of these only")
    tensors = loaded[inside[0]] if inside else loaded
    other = [name for name, value in tensors.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if other or not tensors:
        raise WeightsError(
            f"{source} holds something else than named tensors: {sorted(map(str, other))[:8]}; "
            f"expected them at the top or under one of {list(WRAPPERS)}"
        )
    return {name: tensor.detach() for name, tensor in tensors.items()}


# -- TorchScript archives ------------------------------------------------------------------------------------------


class _Inert:
    """Stand-in for a class of an archive: keeps the attributes it was saved with and can do nothing."""

    def __init__(self, *_: object) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.attributes = dict(state) if isinstance(state, dict) else {}


def _as_list(values: object, *_: object) -> list[object]:
    return list(values) if isinstance(values, list | tuple) else []


class _ArchiveUnpickler(pickle.Unpickler):
    """Rebuild tensors from an archive's storages; every name outside a short list is an error."""

    def __init__(self, stream: BinaryIO, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self.archive, self.folder = archive, folder
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - the unpickler's signature
        """Resolve a global to something harmless, or refuse."""
        if module.partition(".")[0] == "__torch__":
            return _Inert
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _rebuild
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":
            return _as_list
        raise pickle.UnpicklingError(f"the archive asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:  # noqa: ANN401 - the unpickler's signature
        """Return a storage as a flat tensor."""
        kind, dtype, key, _, numel = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"the archive asks for a {kind!r}")
        if key not in self.storages:
            entry = self.archive.getinfo(f"{self.folder}data/{key}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != numel * dtype.itemsize:
                raise pickle.UnpicklingError(f"storage {key!r}: {numel} x {dtype} do not make {entry.file_size} bytes")
            data = bytearray(self.archive.read(entry))
            self.storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self.storages[key]


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _read_torchscript(archive: zipfile.ZipFile, path: Path) -> dict[str, Tensor]:
    try:
        (pickled,) = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        folder = pickled.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise WeightsError(f"{path} was written on a big-endian machine; expected little-endian numbers")
        with archive.open(pickled) as stream:
            module = _ArchiveUnpickler(cast(BinaryIO, stream), archive, folder).load()
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is a TorchScript archive with more than weights: {error}; {ONLY_TENSORS}"
        ) from error
    except DAMAGE as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} is a damaged TorchScript archive: {error!r:.200}") from error
    tensors = dict(_named_tensors(module))
    if not tensors:
        raise WeightsError(f"{path} is a TorchScript archive without tensors")
    return tensors


def _named_tensors(root: object) -> Iterator[tuple[str, Tensor]]:
    """Walk the archive's modules; each is visited once, so that a module inside itself does no harm."""
    seen, waiting = set(), [("", root)]
    while waiting:
        prefix, node = waiting.pop()
        if not isinstance(node, _Inert) or id(node) in seen:
            continue
        seen.add(id(node))
        for name, value in node.attributes.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            waiting.append((f"{prefix}{name}.", value))
