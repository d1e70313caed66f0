"""What a damaged input must do: say which file and which field, soon, and leave nothing half-written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import StoreError

Damage = Callable[[Path], None]


def fails(path: Path, out: Path, *said: str, when: str) -> str:
    """Make sure that opening (or else converting) fails with words that all occur in the message; return it."""
    began = time.monotonic()
    if when == "opened":
        with pytest.raises(StoreError) as raised:
            open_source(path)
    else:
        source = open_source(path)
        with pytest.raises(StoreError) as raised:
            convert(source, out)
    message = str(raised.value)
    assert all(word in message for word in said), message
    assert time.monotonic() - began < 5
    assert not out.exists()
    return message
