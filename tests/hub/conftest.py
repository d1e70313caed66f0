"""A Hub of its own and an empty cache for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seerkit.hub import frozen
from tests.hub.loopback import Loopback, loopback


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A Hub without repositories; what is fetched from it lands in a cache of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seerkit.hub.client.PAUSES", (0.01, 0.01))
    frozen._tell.cache_clear()
    with loopback() as server:
        yield server
