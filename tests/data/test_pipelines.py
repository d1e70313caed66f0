"""The commands of docs/pipelines.md, one after the other, at toy size: from recordings to a fine-tuned policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seerkit import Policy, load_recipe
from seerkit.cli import app
from seerkit.data.store import Store
from tests.conftest import ROOT
from tests.data import made, made_calvin, made_libero, made_rlds, made_seer_real
from tests.small import SMALL
from tests.test_readme import blocks, commands

TWIN = ["train.updates=2", "train.warmup=1", "train.batch_size=2", "train.holdout=0.3", "train.validate_every=1"]
PAPER = ["train.epochs=null", "train.updates=2", "train.warmup_epochs=null", "train.batch_size=2"]
PAPER += ["train.holdout=0.3", "train.validate_every=1", "train.precision=fp32", "goal=words"]
SOURCE = "encoders.image.source.vit"


def section(title: str) -> list[list[str]]:
    """Return the commands below a heading of the page."""
    page = ROOT / "docs" / "pipelines.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    begin = lines.index(f"## {title}")
    end = next((n for n in range(begin + 1, len(lines)) if lines[n].startswith("## ")), len(lines))
    return [words for block in blocks(page) if begin < block.line <= end for words in commands(block)]


def toy(words: list[str]) -> list[str]:
    """Make a command small; what it does stays the same."""
    if "--episodes" in words:
        place = words.index("--episodes") + 1
        words = [*words[:place], str(min(int(words[place]) // 50 + 2, 6)), *words[place + 1 :]]
    if words[1] != "train":
        return words
    given = words[3 : words.index("--data")]
    smaller = TWIN
    if "tabletop" not in words[2]:
        known = load_recipe(words[2], "goal=words").flat()
        smaller = PAPER + [f"{name}={value}" for name, value in SMALL.items() if name in known] + [f"{SOURCE}=random"]
    kept = [one for one in given if not one.startswith("train.")]
    return [*words[:3], *smaller, *kept, *words[words.index("--data") :], "--device", "cpu"]


def run(title: str) -> None:
    for words in section(title):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, toy(words)[1:], catch_exceptions=False)
        assert done.exit_code == 0, (words, done.output[-2000:])


def begun(run: Path) -> dict[str, int]:
    """Count the tensors that a run began with, by what became of them."""
    return {what: len(names) for what, names in json.loads((run / "init_from.json").read_text())["tensors"].items()}


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["val_loss_arm"] for record in records if "val_loss_arm" in record]


@pytest.mark.slow
@pytest.mark.sim
def test_on_the_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("On the twin")
    assert {episode.instruction for episode in Store(tmp_path / "data/play").episodes} == {""}
    assert "" not in {episode.instruction for episode in Store(tmp_path / "data/told").episodes}
    assert (tmp_path / "runs/finetune/report/report.json").is_file()


@pytest.mark.slow
def test_on_calvin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lengths, first = (40, 44, 41), (0, 40, 200)
    spoken = [(n, start, start + 9, f"do {n}", "task") for n in range(3) for start in (2, 3, 14, 15)]
    folder = tmp_path / "task_ABC_D" / "training"
    made_calvin.write_calvin(folder, lengths=lengths, first=first, sentences=spoken)
    run("On CALVIN")
    assert Store(tmp_path / "data/calvin").kind == "jpeg"
    assert len(losses(tmp_path / "runs/calvin-tenth")) > 0


@pytest.mark.slow
def test_on_libero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_libero.write(tmp_path / "libero_90", made.episodes(6, (20, 24)))
    made_libero.write(tmp_path / "libero_10", made.episodes(6, (18, 22), seed=1))
    run("On LIBERO")
    assert losses(tmp_path / "runs/libero") != losses(tmp_path / "runs/libero-pretrain")
    assert (
        Policy.from_pretrained(tmp_path / "runs/libero-tenth/checkpoints/last").recipe.config["data"]["fraction"] == 0.1
    )


@pytest.mark.slow
def test_with_droid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_rlds.write(tmp_path / "droid", made.episodes(4, (16, 20)))
    made_seer_real.write(tmp_path / "data/robot", made.episodes(4, (16, 20), seed=1))
    run("With DROID and one's own robot")
    assert len(losses(tmp_path / "runs/robot")) > 0
