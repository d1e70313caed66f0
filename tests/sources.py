"""The product's own Python files, found once for every test that reads them as text."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

FOLDERS = {"seerkit": "seerkit", "envs": "seerkit.envs", "recipes": "seerkit.recipes"}


def modules() -> dict[str, Path]:
    """Map the name of every module to its file; `seerkit/envs` and `seerkit/recipes` are links and are not entered."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names a tree imports, wherever in the file; ``from a import b`` yields ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
