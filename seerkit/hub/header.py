"""What a ``.safetensors`` file promises to hold, read without loading any of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from seerkit.hub.errors import CheckpointError

HEADER_LIMIT = 16 << 20
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class Promised:
    """A tensor as a file's header has it."""

    shape: tuple[int, ...]
    dtype: torch.dtype | str


def read_promised(file: Path) -> tuple[dict[str, Promised], dict[str, str]]:
    """Return names, shapes and types of a file's tensors, and its metadata.

    Raises:
        CheckpointError: if it is no such file, is cut off, or has an absurdly long header.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    size = file.stat().st_size
    if not 2 <= length <= min(HEADER_LIMIT, size - 8):
        raise CheckpointError(
            f"{file} is damaged or no .safetensors file: its {size:,} bytes announce a header of {length:,}; "
            f"at most {HEADER_LIMIT:,} are read"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            promised = {
                name: Promised(tuple(s.get_shape()), DTYPES.get(str(s.get_dtype()), str(s.get_dtype())))
                for name, s in slices.items()
            }
            return promised, opened.metadata() or {}
    except (SafetensorError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or no .safetensors file: {error}") from error
