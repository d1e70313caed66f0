"""The walk through a new part works as written: its three files, in a copy of the project, and its commands."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs/add_a_part.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [shlex.split(line) for line in re.findall(r"^seerkit .*$", PAGE, re.MULTILINE)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the page's files in it, and nothing else changed."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("seerkit", "envs", "recipes", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name, text in FILES.items():
        path = copy / name
        assert not path.exists(), f"{name} exists already"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return copy


def run(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_three_files_are_enough() -> None:
    assert sorted(Path(name).parts[0] for name in FILES) == ["recipes", "seerkit", "tests"]
    assert COMMANDS


def test_its_test_passes(project: Path) -> None:
    name = next(name for name in FILES if name.startswith("tests/"))
    assert "2 passed" in run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", name)


def test_its_test_can_fail(project: Path) -> None:
    """The page's test notices a part that keeps the smallest patches instead."""
    part = next(project / name for name in FILES if name.startswith("seerkit/"))
    right = part.read_text(encoding="utf-8")
    part.write_text(right.replace("patches.norm(dim=-1)", "(-patches.norm(dim=-1))"), encoding="utf-8")
    try:
        with pytest.raises(AssertionError, match="test_small_patches_do_not_matter"):
            run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/resample/test_largest.py")
    finally:
        part.write_text(right, encoding="utf-8")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_its_commands_work(project: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEERKIT_CACHE", str(project / "cache"))
    said = run(project, "-m", "seerkit.cli", *words[1:])
    assert "gradients reach all" in said if "--check" in words else "32" in said


def test_the_copy_is_what_ran(project: Path) -> None:
    code = "import seerkit.resample.largest as made; print(made.__file__)"
    assert Path(run(project, "-c", code).strip()).is_relative_to(project)


def test_house_rules_hold(project: Path) -> None:
    """What is checked of every file of the package is checked of the page's."""
    run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_house.py", "-k", "largest")
