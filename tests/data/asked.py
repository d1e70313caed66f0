"""The windows that a recipe asks for, without building its policy."""

from __future__ import annotations

from torch import nn

from seerkit import load_recipe
from seerkit.data.source import Source
from seerkit.data.windows import Windows
from seerkit.train.settings import Settings
from seerkit.train.windows import training_windows


class Asked(nn.Module):
    """Nothing but a recipe: which windows are cut does not depend on the rest of a policy."""

    def __init__(self, name: str, *overrides: str) -> None:
        super().__init__()
        self.recipe = load_recipe(name, *overrides)


def cut(source: Source, name: str, *overrides: str) -> Windows:
    """Cut a data set's windows for a recipe."""
    windows, held, _ = training_windows(Asked(name, *overrides), source, Settings(updates=1))
    assert held is None
    return windows
