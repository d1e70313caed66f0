"""`seerkit convert weights`, as a user types it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from seerkit import build_policy
from seerkit.cli import app
from tests.convert import official

pytestmark = pytest.mark.skipif(not official.ROOT.is_dir(), reason=official.MISSING)


def run(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["convert", "weights", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_seer_in_use_and_out(tmp_path: Path) -> None:
    state, overrides = official.tiny_seer()
    path = official.write(tmp_path / "9.pth", {f"module.{name}": t for name, t in state.items()}, "model_state_dict")
    said = run(path, tmp_path / "policy", "--from", "seer", "--recipe", "seer_calvin", *overrides)
    assert "encoders.goal.tower" in said
    assert "encoders.image.vit" in said
    assert f"{len(state)} tensors of 9.pth" in said
    policy = build_policy(str(tmp_path / "policy"))
    assert torch.equal(policy.trunk.queries["action"], state["action_pred_token"][0, 0])
    assert "written" in run(tmp_path / "policy", tmp_path / "back.pth", "--to", "seer")
    official.same(official.read(tmp_path / "back.pth", "model_state_dict"), official.read(path, "model_state_dict"))


def test_gr1_in_and_out(tmp_path: Path) -> None:
    state, overrides = official.tiny_gr1()
    path = official.write(tmp_path / "snapshot.pt", state, "state_dict")
    said = run(path, tmp_path / "policy", "--from", "gr1", "--recipe", "gr1_calvin", *overrides)
    assert "decoder_pos_embed" in said
    assert "encoders.image.vit" not in said  # it came with the file
    run(tmp_path / "policy", tmp_path / "back.pt", "--to", "gr1")
    official.same(official.read(tmp_path / "back.pt", "state_dict"), state)


def test_a_payload_never_runs(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> object:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model_state_dict": {"module.mask_token": Payload()}}, tmp_path / "bad.pth")
    for source in ("seer", "gr1", "mae", "clip", "r3m"):
        with pytest.raises(ValueError, match="needs code to be read"):
            run(tmp_path / "bad.pth", tmp_path / "out.safetensors", "--from", source)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say either --from"),
        (["--from", "seer", "--to", "gr1"], "say either --from"),
        (["--from", "mae", "--recipe", "seer_calvin"], "--recipe goes with"),
        (["--from", "vla"], "'vla' is not one of"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], message: str, tmp_path: Path) -> None:
    assert message in run(tmp_path / "in.pt", tmp_path / "out", *arguments)
    assert message.startswith("say") or not (tmp_path / "out").exists()


def test_overrides_need_a_recipe(tmp_path: Path) -> None:
    assert "say which with --recipe" in run(tmp_path / "in.pt", tmp_path / "out", "steps=7", "--from", "seer")
