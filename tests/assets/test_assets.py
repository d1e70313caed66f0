"""A simulator's files are taken over whole, checked, and never by the paths of an archive."""

import io
import json
import shutil
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seerkit.assets import download, folder, require, take
from seerkit.assets.pinned import PINNED
from seerkit.assets.where import compare, hashes
from seerkit.cli import app

pytestmark = pytest.mark.calvin
THEIRS = {
    "data/": "calvin_env/data/",
    "conf/scene/": "calvin_env/conf/scene/",
    "conf/new_playtable_tasks.yaml": "calvin_models/conf/callbacks/rollout/tasks/new_playtable_tasks.yaml",
    "conf/new_playtable_validation.yaml": "calvin_models/conf/annotations/new_playtable_validation.yaml",
}
"""Where our files lie in the original's repository."""


def theirs(name: str) -> str:
    ours = next(start for start in THEIRS if name.startswith(start))
    return THEIRS[ours] + name.removeprefix(ours)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as in a checkout of the original, beside others."""
    root = tmp_path_factory.mktemp("checkout") / "calvin"
    for name in hashes("calvin"):
        path = root / theirs(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder("calvin") / name, path)
    (root / "README.md").write_text("another file")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the files at hand are not those of the environment variable."""
    monkeypatch.delenv("SEERKIT_CALVIN_ASSETS", raising=False)
    monkeypatch.setenv("SEERKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield f"calvin-main/{path.relative_to(root).as_posix()}", path.read_bytes()


def write_zip(root: Path, out: Path) -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries(root):
            archive.writestr(name, content)
    return out


def write_tar(root: Path, out: Path) -> Path:
    with tarfile.open(out, "w:gz") as archive:
        for name, content in entries(root):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_they_are_taken_from_a_checkout_or_an_archive(kind: str, checkout: Path, tmp_path: Path, cache: Path) -> None:
    made = {"zip": write_zip, "tar": write_tar}
    source = made[kind](checkout, tmp_path / f"calvin.{kind}") if kind in made else checkout
    with pytest.raises(FileNotFoundError, match=r"125 of the 125 files .* seerkit assets calvin --from PATH"):
        require("calvin")
    place = take("calvin", [source])
    assert place == cache / "assets" / "calvin" == require("calvin")
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()) == sorted(
        hashes("calvin")
    )
    assert [path.name for path in place.parent.iterdir()] == ["calvin"]  # no draft is left


def test_they_are_downloaded_as_archives(checkout: Path, tmp_path: Path) -> None:
    data, rest = tmp_path / "data", tmp_path / "rest"
    shutil.copytree(checkout / "calvin_env" / "data", data / "data")
    shutil.copytree(checkout, rest, ignore=shutil.ignore_patterns("data"))
    urls = [write_tar(root, tmp_path / f"{root.name}.tar.gz").as_uri() for root in (data, rest)]
    said: list[str] = []
    place = download("calvin", urls=urls, say=said.append)
    assert (said, compare("calvin", place)) == (urls, ([], []))
    with pytest.raises(OSError, match=r"cannot fetch file:.*none\.tar\.gz: .*seerkit assets calvin --from PATH"):
        download("calvin", urls=[(tmp_path / "none.tar.gz").as_uri()])
    assert require("calvin") == place
    assert all(len(url.split("archive/")[1].split(".")[0]) == 40 for url in PINNED["calvin"])  # a commit, no branch
    with pytest.raises(ValueError, match="given both"):
        CliRunner().invoke(app, ["assets", "calvin", "--from", "x", "--download"], catch_exceptions=False)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_was_cut_short_is_said_to_be(kind: str, checkout: Path, tmp_path: Path) -> None:
    whole = {"zip": write_zip, "tar": write_tar}[kind](checkout, tmp_path / f"calvin.{kind}")
    content = bytearray(whole.read_bytes())
    if kind == "tar":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 3 : len(content) // 3 + 9] = bytes(9)
    whole.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged or cut short: .*nothing was written"):
        take("calvin", [whole])
    assert not folder("calvin").exists()


def test_two_sources_may_complete_each_other(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout / "calvin_env" / "data", tmp_path / "data")
    shutil.copytree(checkout, tmp_path / "rest", ignore=shutil.ignore_patterns("data"))
    with pytest.raises(FileNotFoundError, match=r"119 of the 125 .*nothing was written.*--from may be given several"):
        take("calvin", [tmp_path / "rest"])
    assert not folder("calvin").exists()
    take("calvin", [tmp_path / "data", tmp_path / "rest"])
    assert compare("calvin", folder("calvin")) == ([], [])


def test_a_changed_file_is_refused_and_the_old_ones_stay(checkout: Path, tmp_path: Path) -> None:
    take("calvin", [checkout])
    changed = tmp_path / "changed"
    shutil.copytree(checkout, changed)
    urdf = changed / "calvin_env/data/plane/plane.urdf"
    urdf.write_bytes(urdf.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(
        ValueError, match=r"1 files in .*changed are not those of calvin, such as data/plane/plane.urdf"
    ):
        take("calvin", [changed])
    assert require("calvin")
    take("calvin", [changed, checkout])  # the right one is found further on


def test_a_file_that_was_changed_later_is_noticed(checkout: Path) -> None:
    place = take("calvin", [checkout])
    block = place / "data/blocks/block_red_small.urdf"
    block.write_text(block.read_text().replace("0.7", "0.8"))
    with pytest.raises(ValueError, match=r"1 files .* not those of calvin, such as data/blocks/block_red_small.urdf"):
        require("calvin")
    take("calvin", [checkout])
    assert require("calvin") == place


def test_paths_of_an_archive_are_not_used_to_write(checkout: Path, tmp_path: Path, cache: Path) -> None:
    hostile = tmp_path / "hostile.tar"
    with tarfile.open(hostile, "w") as archive:
        for name, content in entries(checkout):
            member = tarfile.TarInfo(f"../../../{name}" if "plane" in name else f"/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("calvin/calvin_env/data/plane/plane.obj")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = {path for path in tmp_path.rglob("*") if cache not in (path, *path.parents)}
    place = take("calvin", [hostile])
    assert compare("calvin", place) == ([], [])
    assert {path for path in tmp_path.rglob("*") if cache not in (path, *path.parents)} == before
    assert not any(path.is_symlink() for path in place.rglob("*"))


def test_a_huge_file_is_not_read(checkout: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("calvin/data/plane/plane.urdf", b"\0" * 64 * 2**20)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"are not those of calvin, such as data/plane/plane.urdf"):
        take("calvin", [bomb])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 48 * 2**20
    take("calvin", [bomb, checkout])


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        take("calvin", [tmp_path / "nowhere"])
    (tmp_path / "note.txt").write_text("no archive")
    with pytest.raises(ValueError, match=r"a folder, a zip or a tar file, given .*note.txt"):
        take("calvin", [tmp_path / "note.txt"])
    with pytest.raises(ValueError, match=r"simulator of .'calvin',., given 'calvn'"):
        folder("calvn")


def test_the_command(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*arguments: str):  # noqa: ANN202 - typer's result
        return CliRunner().invoke(app, ["assets", "calvin", *arguments])

    absent = call()
    assert isinstance(absent.exception, FileNotFoundError)
    assert "seerkit assets calvin --from PATH" in str(absent.exception)
    done = call("--from", str(checkout))
    assert done.exit_code == 0, done.output
    assert "all 125 files are there" in done.output
    assert call().exit_code == 0
    monkeypatch.setenv("SEERKIT_CALVIN_ASSETS", str(checkout))
    elsewhere = call("--from", str(checkout))
    assert "SEERKIT_CALVIN_ASSETS is set" in elsewhere.output
    assert isinstance(elsewhere.exception, FileNotFoundError)


def test_the_list_holds_names_and_hashes_only() -> None:
    import seerkit.assets.where as where

    listed = json.loads(Path(where.__file__).with_name("calvin.json").read_text())
    assert len(listed) == 125
    assert all(len(value) == 64 and int(value, 16) >= 0 for value in listed.values())
    ends = {name.partition("/")[2] for name in listed}
    assert len(ends) == len(listed)  # by which files are recognised
