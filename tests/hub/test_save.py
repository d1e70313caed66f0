"""Saving replaces a checkpoint, and nothing that is not one."""

from __future__ import annotations

from pathlib import Path

import pytest

from seerkit import Policy
from seerkit.data.files import fresh_folder
from tests.hub.policies import same
from tests.small import small_policy

OURS = {"README.md", "model.safetensors", "recipe.yaml"}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return small_policy("seer_tabletop")


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "there",
    [
        ["thesis.tex"],
        ["README.md"],
        ["recipe.yaml", "README.md"],
        ["recipe.yaml", "model.safetensors", "notes.txt"],
        ["recipe.yaml", "model.safetensors", ".git/HEAD"],
        ["recipe.yaml", "model.safetensors", "report.json/kept"],
        ["checkpoints/last/model.safetensors", "log.csv"],
    ],
)
def test_a_folder_of_something_else_is_not_replaced(there: list[str], policy: Policy, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(f"my {name}")
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match=rf"mine .*holds .*{Path(there[-1]).parts[0]}.* would be lost"):
        policy.save_pretrained(tmp_path / "mine")
    assert content(tmp_path) == before


def test_nor_is_a_file(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("words")
    with pytest.raises(FileExistsError, match="is a file"):
        policy.save_pretrained(tmp_path / "mine")
    assert content(tmp_path) == {"mine": b"words"}


@pytest.mark.parametrize("there", [None, [], ["training_state", "training.json", "report.json"]])
def test_a_checkpoint_and_an_empty_folder_are(there: list[str] | None, policy: Policy, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    if there is None:
        folder.mkdir()
    else:
        small_policy("seer_tabletop").save_pretrained(folder)
        for name in there:
            file = folder / name / ".metadata" if name == "training_state" else folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("of the run")
    policy.save_pretrained(folder)
    assert set(content(folder)) == OURS
    assert same(policy, Policy.from_pretrained(folder))
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "old").write_text("old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if ".tmp." in self.name:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no"), fresh_folder(tmp_path / "mine", replace=True) as draft:
        (draft / "new").write_text("new")
    assert content(tmp_path) == {"mine/old": b"old"}
