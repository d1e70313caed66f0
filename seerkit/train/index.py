"""Read a checkpoint of torch.distributed.checkpoint without running a line of what its index may bring along."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

_METADATA = "torch.distributed.checkpoint.metadata"
KNOWN = {
    *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "ChunkStorageMetadata")),
    *((_METADATA, name) for name in ("TensorStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    *((module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
}
"""What the index of a state of tensors refers to, besides types such as ``torch.float32``."""


class IndexReader(FileSystemReader):
    """Read a folder of torch.distributed.checkpoint that holds tensors and nothing else.

    The index (``.metadata``) is a pickle, which torch would run; here anything but `KNOWN` is refused, and so is an
    object beside the tensors, which torch would unpickle as well, and a file outside the folder. The index is read
    once, so that what was checked is what is used. Tensors themselves torch loads with ``weights_only=True``.

    Args:
        folder: the checkpoint.

    Attributes:
        tensors: what the index says of every tensor, by name.

    Raises:
        pickle.UnpicklingError: the index holds something else; damaged bytes may raise anything.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with (folder / ".metadata").open("rb") as file:
            index = _Plain(file).load()
        if not isinstance(index, Metadata):
            raise pickle.UnpicklingError(f"it must be an index, it is {type(index).__name__}")
        entries: dict[str, Any] = index.state_dict_metadata
        if odd := sorted(name for name, entry in entries.items() if not isinstance(entry, TensorStorageMetadata)):
            raise pickle.UnpicklingError(f"it must list tensors alone, it lists {odd[:5]}")
        outside = {info.relative_path for info in index.storage_data.values() if _leaves(info.relative_path)}
        if outside:
            raise pickle.UnpicklingError(f"it must name files beside it, it names {sorted(outside)[:5]}")
        self.tensors: dict[str, TensorStorageMetadata] = entries
        self._index = index

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:  # noqa: ANN401, ARG002 - torch's signature
        """Return the index."""
        self._index.storage_meta = self._index.storage_meta or StorageMeta()
        self._index.storage_meta.load_id = self.load_id
        return self._index


class _Plain(pickle.Unpickler):
    """Know the classes of an index and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) not in KNOWN and not (module == "torch" and isinstance(vars(torch).get(name), torch.dtype)):
            raise pickle.UnpicklingError(f"it needs {module}.{name}, which could do anything to this machine; not run")
        return super().find_class(module, name)


def _leaves(path: str) -> bool:
    return Path(path).name != path
