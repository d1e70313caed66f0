"""Open recorded episodes of any known format; which one is found out by what lies in the folder."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from seerkit.data.source import Source, StoreError
from seerkit.data.store import META, Store

READERS = ("calvin", "libero", "lerobot", "seer_real", "rlds", "video")
"""Modules of `seerkit.data.readers`, each with

- ``looks(path)``: whether a path is of its format, without reading data;
- ``LOOKS``: a few words on how such a path looks;
- ``read(path, *, ...)``: opens it as a `Source`; keyword-only arguments are the format's options.
"""


def open_source(path: str | Path, *, format: str | None = None, **options: Any) -> Source:  # noqa: ANN401
    """Open recorded episodes in place.

    Args:
        path: a store, or a file or folder of another format.
        format: which one, if it cannot be told from the files.
        options: of the format's reader, see `reader_options`.

    Raises:
        StoreError: nothing is there, the format is unknown, or what is there is damaged.
        ValueError: an option is unknown.
    """
    path = Path(path)
    if not path.exists():
        there = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, there, n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise StoreError(f"{path} does not exist{hint}")
    name = format or format_of(path)
    if name == "store":
        _check_options("store", options, [])
        return Store(path)
    module = _reader(name)
    _check_options(name, options, reader_options(name))
    return module.read(path, **options)


def format_of(path: Path) -> str:
    """Say of which format the files at ``path`` are.

    Raises:
        StoreError: of none, or they are of several.
    """
    if (path / META).is_file():
        return "store"
    found = [name for name in READERS if _reader(name).looks(path)]
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(f"{path} could be {' or '.join(found)}; say which: --format {found[0]}")
    kinds = "\n".join(f"  {name}: {_reader(name).LOOKS}" for name in READERS)
    raise StoreError(f"{path} is of no known format. Known:\n  store: a folder with {META}\n{kinds}")


def reader_options(name: str) -> list[str]:
    """Return the names of a reader's options."""
    parameters = inspect.signature(_reader(name).read).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _reader(name: str) -> ModuleType:
    if name not in READERS:
        near = difflib.get_close_matches(name, ["store", *READERS], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise StoreError(f"format must be one of {('store', *READERS)}, got {name!r}{hint}")
    return import_module(f"seerkit.data.readers.{name}")


def _check_options(name: str, given: Iterable[str], known: list[str]) -> None:
    for option in given:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"the format {name} has no option {option!r}{hint} Known: {', '.join(known) or 'none'}")
