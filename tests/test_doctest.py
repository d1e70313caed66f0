"""The examples in docstrings print what they say."""

import doctest
import importlib
import io

import pytest

from tests.sources import modules

WITH_EXAMPLES = [name for name, path in modules().items() if ">>> " in path.read_text(encoding="utf-8")]
STYLE = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize(
    "name", WITH_EXAMPLES or [pytest.param("", marks=pytest.mark.skip("no docstring has examples"))]
)
def test_docstring_examples(name: str) -> None:
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=STYLE)
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        runner.run(test, out=said.write)
    assert runner.failures == 0, said.getvalue()
    assert runner.tries > 0, f"{name} shows examples where doctest does not look"
