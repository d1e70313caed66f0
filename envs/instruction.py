"""The space of instructions, and how gymnasium's vector envs share it between processes."""

import string
from multiprocessing.sharedctypes import SynchronizedArray
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

LENGTH = 256
CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " "


class Instruction(spaces.Text):
    """Hold 1 to 256 characters of printable ASCII.

    gymnasium's ``AsyncVectorEnv`` reads a plain ``Text`` from shared memory once, when it is made, and never again:
    every later observation carries a meaningless instruction. This space is shared as a numpy array of strings that
    views the memory, so observations follow what the workers write. The three functions below teach gymnasium to do
    so, for this class alone.
    """

    def __init__(self) -> None:
        super().__init__(LENGTH, charset=CHARACTERS)


def check_instruction(text: str) -> str:
    """Return the instruction if the observation space can hold it.

    Raises:
        ValueError: if it is empty, too long or has characters other than printable ASCII.
    """
    unknown = sorted(set(text) - set(CHARACTERS))
    if not 1 <= len(text) <= LENGTH or unknown:
        raise ValueError(
            f"expected an instruction of 1 to {LENGTH} printable ASCII characters, "
            f"given {len(text)} characters{f' with {unknown}' if unknown else ''}: {text!r}"
        )
    return text


def _view(memory: SynchronizedArray) -> np.ndarray:
    return np.frombuffer(memory.get_obj(), dtype=f"<U{LENGTH}")  # type: ignore[call-overload] - a ctypes array is a buffer


@create_shared_memory.register(Instruction)
def _create(space: Instruction, n: int = 1, ctx: Any = None) -> Any:  # noqa: ANN401, ARG001 - gymnasium's signature
    return ctx.Array(np.dtype(np.int32).char, n * LENGTH)


@read_from_shared_memory.register(Instruction)
def _read(space: Instruction, shared_memory: SynchronizedArray, n: int = 1) -> np.ndarray:  # noqa: ARG001 - as above
    return _view(shared_memory)[:n]


@write_to_shared_memory.register(Instruction)
def _write(space: Instruction, index: int, value: str, shared_memory: SynchronizedArray) -> None:  # noqa: ARG001
    _view(shared_memory)[index] = value
