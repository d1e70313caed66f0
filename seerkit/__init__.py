"""Interchangeable robot-policy parts that assemble into Seer, its ablations, and policies nobody has tried yet.

The public names below are loaded on first use, so `import seerkit` is quick: it imports neither torch nor a simulator.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from seerkit.agent import Agent
    from seerkit.layout import Attend, Edge, TokenLayout
    from seerkit.policy import Policy, build_policy
    from seerkit.recipe import list_recipes, load_recipe

_HOME = {
    "Agent": "seerkit.agent",
    "Attend": "seerkit.layout",
    "Edge": "seerkit.layout",
    "Policy": "seerkit.policy",
    "TokenLayout": "seerkit.layout",
    "build_policy": "seerkit.policy",
    "list_recipes": "seerkit.recipe",
    "load_recipe": "seerkit.recipe",
}

__all__ = [
    "Agent",
    "Attend",
    "Edge",
    "Policy",
    "TokenLayout",
    "build_policy",
    "list_recipes",
    "load_recipe",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a public name may be a class or a function
    """Import a public name from its home module on first use (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'seerkit' has no attribute {name!r}; public names: {sorted(_HOME)}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*globals(), *_HOME])
