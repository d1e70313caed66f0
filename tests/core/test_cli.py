"""The command line, as a user types it."""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seerkit import Policy, build_policy, cli_eval, load_recipe
from seerkit.cli import app
from seerkit.describe import make_index, recipe_index


def run(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seerkit.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_the_table_lists_every_recipe() -> None:
    shown = run("recipe")
    assert "seer_large_calvin" in shown
    assert "354.9 + 149.2 M" in shown
    assert "arXiv:2412.15109" in shown
    assert "arXiv:2312.13139" in shown


def test_the_table_is_what_the_recipes_say() -> None:
    assert recipe_index() == make_index()
    assert recipe_index() is recipe_index(), "kept beside the cards: run seerkit.describe.write_cards"


def test_the_card_shows_parts_parameters_tokens_and_commands() -> None:
    shown = run("recipe", "seer_large_calvin")
    for text in (
        "354,868,487",
        "149,226,752",
        "TokenTrunk",
        "71 per step",
        "tokens.image (1, 32, 1024)",
        "seerkit train",
    ):
        assert text in shown


def test_commands_are_those_that_can_be_run() -> None:
    told = "seerkit eval runs/{0}/checkpoints/last --env"
    shown = " ".join(run("recipe", "seer_tabletop").split())
    assert f"{told.format('seer_tabletop')} seerkit/Tabletop-Reach-v0" in shown
    shown = " ".join(run("recipe", "seer_calvin", "eval.env=null").split())
    assert f"{told.format('seer_calvin')} ENV" in shown
    shown = " ".join(run("recipe", "gr1_video_pretrain").split())
    assert "seerkit train gr1_video_pretrain" in shown
    assert "seerkit eval" not in shown


def test_yaml_is_the_resolved_recipe(tmp_path: Path) -> None:
    text = run("recipe", "seer_calvin", "foresight=none", "--yaml")
    (tmp_path / "a.yaml").write_text(text)
    assert load_recipe(str(tmp_path / "a.yaml")).hash == load_recipe("seer_calvin", "foresight=none").hash


def test_diff_names_what_an_ablation_removes() -> None:
    shown = run("recipe", "seer_calvin", "foresight=none", "--diff", "seer_calvin")
    lines = [line for line in shown.splitlines() if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))]
    assert all(line.startswith("- ") for line in lines)
    assert "- layout.queries.foresight: 18" in lines
    assert "- losses.foresight.weight: 0.1" in lines


def test_copy_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    run("recipe", "seer_calvin", "--copy", str(file))
    assert load_recipe(str(file)).hash == load_recipe("seer_calvin").hash
    file.write_text("precious")
    result = shell("recipe", "seer_calvin", "--copy", str(file))
    assert result.returncode == 2
    assert "exists already" in result.stderr
    assert file.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_mask_draws_a_picture(tmp_path: Path) -> None:
    from PIL import Image

    run("recipe", "seer_calvin_pretrain", "--mask", str(tmp_path / "mask.png"))
    picture = Image.open(tmp_path / "mask.png")
    assert min(picture.size) > 500
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 5
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]


def test_check_trains_a_batch() -> None:
    assert "gradients reach all" in run("recipe", "seer_tabletop", "--check")


PLACES = {
    "run/checkpoints/000010": "run/report",
    "official/seer": "official/seer/report",
    "ada/reach": "reach-report",
}


@pytest.mark.parametrize("checkpoint", PLACES)
def test_a_report_goes_where_its_policy_is(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the run; into a checkpoint that is of no run; for a policy on the Hub, here."""
    policy, places = build_policy("seer_tabletop"), list[Path]()
    evaluation = importlib.import_module("seerkit.eval.evaluate")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, out, **__: places.append(Path(out)))
    monkeypatch.setattr(cli_eval, "sum_up", lambda *_: None)
    if checkpoint == "ada/reach":
        monkeypatch.setattr(Policy, "from_pretrained", lambda *_, **__: policy)
    else:
        policy.save_pretrained(tmp_path / checkpoint)
    run("eval", checkpoint)
    run("eval", checkpoint, "--out", "elsewhere")
    assert [place.resolve() for place in places] == [tmp_path / PLACES[checkpoint], tmp_path / "elsewhere"]


def test_a_report_of_a_runs_last_checkpoint_goes_into_the_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "000010").mkdir(parents=True)
    (tmp_path / "checkpoints" / "last").symlink_to("000010")
    (tmp_path / "mine").symlink_to(tmp_path / "checkpoints" / "last")
    assert {cli_eval.report_of(tmp_path / name) for name in ("checkpoints/last", "mine")} == {tmp_path / "report"}


def test_a_wrong_name_is_one_line_and_exit_2() -> None:
    result = shell("recipe", "seer_calvinn")
    assert result.returncode == 2
    assert "did you mean 'seer_calvin'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_card_is_quick() -> None:
    """Half a second on a free machine; here beside what importing torch costs, as other work slows both alike."""
    card, torch = [], []
    for _ in range(3):
        card.append(_processor(lambda: shell("recipe", "seer_large_calvin")))
        torch.append(_processor(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True)))
    assert min(card) < 0.7 * min(torch)


def _processor(work: Callable[[], subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]]) -> float:
    """Return the CPU seconds of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert work().returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
