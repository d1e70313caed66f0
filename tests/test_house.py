"""The house rules a linter cannot state: sizes, signatures, words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.sources import modules

FILE_LINES, FUNCTION_LINES, ARGUMENTS = 350, 80, 8
OURS = [path for path in modules().values() if path.relative_to(ROOT).parts[0] in {"seerkit", "envs"}]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
UNWANTED_NAME = re.compile(r"(^|_)(num|n)_[a-z]|(^|_)obs($|_)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def arguments(function: Function) -> list[ast.arg]:
    spec = function.args
    given = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return [argument for argument in given if argument.arg not in {"self", "cls"}]


def places(function: Function) -> list[ast.arg]:
    """Return the arguments a caller has to keep apart: all but the options of a command, which users type by name."""
    return [arg for arg in arguments(function) if "typer.Option" not in ast.unparse(arg.annotation or ast.Tuple([]))]


def public_methods(tree: ast.Module) -> Iterator[Function]:
    """Yield methods that need a docstring: public, not `forward` (its class describes it), not described by a base."""
    owners = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for owner in owners.values():
        bases = [owners[base.id] for base in owner.bases if isinstance(base, ast.Name) and base.id in owners]
        inherited = {method.name for base in bases for method in base.body if isinstance(method, Function)}
        methods = [node for node in owner.body if isinstance(node, Function) and not owner.name.startswith("_")]
        described = {*inherited, "forward"}
        yield from (node for node in methods if not node.name.startswith("_") and node.name not in described)


def faults_of_function(function: Function) -> Iterator[str]:
    lines = (function.end_lineno or 0) - function.lineno + 1
    if lines > FUNCTION_LINES:
        yield f"{lines} lines, at most {FUNCTION_LINES}"
    if len(places(function)) > ARGUMENTS:
        yield f"{len(places(function))} arguments, at most {ARGUMENTS}"
    if function.args.kwarg and function.name == "__init__":
        yield f"takes **{function.args.kwarg.arg}: a misspelt argument would vanish in it"
    bare = [argument.arg for argument in arguments(function) if argument.annotation is None]
    if bare:
        yield f"not annotated: {', '.join(bare)}"
    named = [name for name in (function.name, *(a.arg for a in arguments(function))) if UNWANTED_NAME.search(name)]
    if named:
        yield f"not a word of the house: {', '.join(named)}"


def faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert: raise an error that names expected and given"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"
        if isinstance(node, Function):
            yield from ((node.lineno, f"{node.name}: {fault}") for fault in faults_of_function(node))
    for method in public_methods(tree):
        if not ast.get_docstring(method):
            yield method.lineno, f"{method.name}: a public method without a docstring"


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_product_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [f"{path}:{line}: {fault}" for line, fault in faults(ast.parse(text))]
    lines = text.count("\n")
    if lines > FILE_LINES:
        found.append(f"{path}: {lines} lines, at most {FILE_LINES}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_test_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES
    for function in functions(ast.parse(text)):
        assert (function.end_lineno or 0) - function.lineno < FUNCTION_LINES, (
            f"{path}:{function.lineno}: {function.name}"
        )


PLACES = re.compile(r"(?<![\w.$}/])/(?:tmp|work|opt|root|home)/\w")


def test_no_path_of_one_machine() -> None:
    written = [*OURS, ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("*.md")]
    written += [path for folder in ("docs", "recipes", "examples") for path in (ROOT / folder).rglob("*.*")]
    texts = [path for path in written if path.suffix in {"", ".py", ".md", ".yaml", ".toml"} and path.is_file()]
    found = [str(path) for path in texts if PLACES.search(path.read_text(encoding="utf-8"))]
    assert found == []
