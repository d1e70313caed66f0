"""A small store whose frames, states and actions tell which step of which episode they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seerkit.data.conventions import Conventions
from seerkit.data.store import Store
from seerkit.data.writer import StoreWriter

LENGTHS = (9, 3, 6, 1)


@pytest.fixture
def numbered(tmp_path: Path) -> Store:
    conventions = Conventions(cameras={"primary": (3, 4, 6), "wrist": (3, 2, 2)})
    with StoreWriter(tmp_path / "store", conventions) as writer:
        for number, length in enumerate(LENGTHS):
            value = torch.arange(length) + 20 * number
            images = {
                name: value.to(torch.uint8)[:, None, None, None].expand(-1, *size).contiguous()
                for name, size in conventions.cameras.items()
            }
            numbers = value.float()[:, None].expand(-1, 7).contiguous()
            writer.add(images, numbers, numbers, instruction=f"task {number}", seed=number // 2, task="toy")
    return Store(tmp_path / "store")
