"""What is installed is what is in the tree: every module and every recipe once, and nothing else."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import seerkit
from tests.conftest import ROOT

FOLDERS = ("seerkit", "envs", "recipes")
DATA = {".py", ".yaml", ".html", ".css", ".js", ".xml", ".json", ".typed"}


def tree() -> set[str]:
    """Name every file as the installed package has it; the links inside seerkit are not entered."""
    found = set()
    for folder in FOLDERS:
        under = Path("seerkit") if folder == "seerkit" else Path("seerkit") / folder
        for path in (ROOT / folder).rglob("*"):
            kept = (
                path.is_file() and "__pycache__" not in path.parts and (path.suffix in DATA or path.name == "py.typed")
            )
            if kept:
                found.add((under / path.relative_to(ROOT / folder)).as_posix())
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(source),
    ]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = out.glob("*.whl")
    return zipfile.ZipFile(made).namelist()


def test_wheel_holds_every_file_once(wheel: list[str]) -> None:
    packaged = [name for name in wheel if ".dist-info/" not in name]
    assert len(packaged) == len(set(packaged))
    assert set(packaged) == tree()


def test_wheel_brings_licence_and_command(wheel: list[str]) -> None:
    said = [name.split(".dist-info/")[1] for name in wheel if ".dist-info/" in name]
    assert "licenses/LICENSE" in said
    assert "entry_points.txt" in said


def test_every_recipe_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "recipes").rglob("*.yaml")}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_links_are_relative() -> None:
    for name in ("envs", "recipes"):
        link = ROOT / "seerkit" / name
        assert link.is_symlink(), f"{link}: a clone without symbolic links? expected a link to ../{name}"
        assert str(link.readlink()) == f"../{name}"


def test_one_version() -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert declared.group(1) == seerkit.__version__


def test_constraints_hold_the_direct_dependencies() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in text.splitlines() if "==" in line}
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.findall(r'"([A-Za-z0-9_.-]+)(?:\[[a-z]+\])?[>=<]=', project.split("[project.scripts]")[0])
    untested = {"hf-libero", "franky-control", "pyserial", "pyrealsense2", "msgpack", "setuptools"}
    assert {name.lower().replace("_", "-") for name in listed} - untested <= pinned


@pytest.mark.parametrize("name", ["torch", "torchvision", "torchrl", "timm", "open_clip_torch", "mujoco", "gymnasium"])
def test_the_tested_set_is_what_runs(name: str) -> None:
    from importlib.metadata import PackageNotFoundError, version

    pin = re.search(rf"^{name}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pin is not None
    try:
        assert version(name).split("+")[0] == pin.group(1)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
