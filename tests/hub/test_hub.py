"""Policies to the Hub and back: create, push, pull, card, and every way it can go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load as load_bytes
from safetensors.torch import save_file
from typer.testing import CliRunner

from seerkit import Policy, build_policy
from seerkit.fingerprint import weights_hash
from seerkit.hub import CheckpointError, HubError
from tests.hub.loopback import TOKEN, Loopback
from tests.hub.policies import MAE, MAE_FILE, MAE_REPO, SOURCE, VIT, frozen_policy, published, published_file, same
from tests.small import small_policy

REPO = "ada/reach"


def report_of(policy: Policy) -> dict:
    """A report as `seerkit eval` writes it, of two tasks, one with two instructions."""

    def group(actor: str, task: str, instruction: str, successes: int) -> dict:
        return {"actor": actor, "task": task, "instruction": instruction, "episodes": 10, "successes": successes}

    return {
        "schema": "seerkit.eval.report",
        "version": 1,
        "groups": [
            group("trained", "Reach", "reach red", 9),
            group("trained", "Reach", "reach blue", 7),
            group("trained", "Push", "push", 3),
            group("random", "Reach", "reach red", 0),
        ],
        "provenance": {
            "weights": {"sha256": weights_hash(policy.state_dict())},
            "protocol": {"first_seed": 1_000_000, "last_seed": 1_000_009},
        },
    }


def run_of(policy: Policy, folder: Path) -> Path:
    """Lay a run out as training and evaluation do; return its checkpoint."""
    checkpoint = policy.save_pretrained(folder / "run" / "checkpoints" / "000010")
    summary = {"update": 10, "windows": 1234, "store": str(folder / "reach_store"), "conventions": {"fps": 15}}
    (checkpoint / "training.json").write_text(json.dumps(summary))
    (checkpoint / "training_state").mkdir()
    (checkpoint / "training_state" / "__0_0.distcp").write_bytes(b"optimiser")
    (folder / "run" / "report").mkdir()
    (folder / "run" / "report" / "report.json").write_text(json.dumps(report_of(policy)))
    return checkpoint


def test_a_policy_goes_to_the_hub_and_comes_back(hub: Loopback) -> None:
    policy = small_policy("seer_tabletop")
    url = policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    assert url == f"{hub.address}/{REPO}"
    assert set(hub.files(REPO)) == {"recipe.yaml", "model.safetensors", "README.md"}
    again = Policy.from_pretrained(REPO, endpoint=hub.address)
    assert same(policy, again)
    assert again.recipe.config == policy.recipe.config
    assert again.checkpoint is not None
    assert hub.fetched() == ["recipe.yaml", "model.safetensors"]
    assert same(policy, build_policy(REPO, "train.updates=7", endpoint=hub.address))


def test_a_tag_holds_a_version(hub: Loopback) -> None:
    first, second = small_policy("seer_tabletop"), small_policy("seer_tabletop")
    first.push_to_hub(REPO, tag="v1", token=TOKEN, endpoint=hub.address)
    second.push_to_hub(REPO, tag="v2", token=TOKEN, endpoint=hub.address)
    assert same(first, Policy.from_pretrained(REPO, revision="v1", endpoint=hub.address))
    assert same(second, Policy.from_pretrained(REPO, endpoint=hub.address))
    commits = len(hub.repos[REPO].commits)
    with pytest.raises(HubError, match=r"has a tag 'v1' already \(v1, v2\); nothing was uploaded"):
        first.push_to_hub(REPO, tag="v1", token=TOKEN, endpoint=hub.address)
    assert len(hub.repos[REPO].commits) == commits


def test_a_private_repository_needs_the_token(hub: Loopback) -> None:
    policy = small_policy("seer_tabletop")
    policy.push_to_hub(REPO, private=True, token=TOKEN, endpoint=hub.address)
    assert hub.repos[REPO].private
    with pytest.raises(HubError, match="private and the token may not see it"):
        Policy.from_pretrained(REPO, endpoint=hub.address)
    assert same(policy, Policy.from_pretrained(REPO, token=TOKEN, endpoint=hub.address))


def test_the_card_says_what_the_policy_is_and_how_well_it_does(hub: Loopback, tmp_path: Path) -> None:
    policy = Policy.from_pretrained(run_of(small_policy("seer_tabletop"), tmp_path))
    policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    assert not any("training_state" in name for name in hub.files(REPO))
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == ("seerkit", "robotics", "apache-2.0")
    assert card.data.model_name == "reach"
    assert card.data.tags == ["robotics", "seerkit", "seer_tabletop", "tabletop"]
    results = {result.dataset_name: result for result in card.data.eval_results or []}
    assert {task: result.metric_value for task, result in results.items()} == {"Reach": 0.8, "Push": 0.3}
    assert results["Reach"].metric_type == "success_rate"
    args = results["Reach"].metric_args or {}
    assert (args["episodes"], args["low"], args["high"]) == (20, 0.584, 0.9193)  # Wilson's interval of 16 in 20
    trainable = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    for text in (
        f'from_pretrained("{REPO}")',
        "16 of 20",
        f"{trainable:,}",
        "TokenTrunk",
        "reach_store",
        "1,234",
        "fps: 15",
    ):
        assert text in card.text
    assert str(tmp_path) not in card.text


def test_the_report_inside_a_checkpoint_that_is_of_no_run_is_found(hub: Loopback, tmp_path: Path) -> None:
    made = small_policy("seer_tabletop")
    checkpoint = made.save_pretrained(tmp_path / "official")
    (checkpoint / "report").mkdir()
    (checkpoint / "report" / "report.json").write_text(json.dumps(report_of(made)))
    Policy.from_pretrained(checkpoint).push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    assert b"16 of 20" in hub.files(REPO)["README.md"]


def test_numbers_of_other_weights_do_not_get_on_the_card(hub: Loopback, tmp_path: Path) -> None:
    policy = Policy.from_pretrained(run_of(small_policy("seer_tabletop"), tmp_path))
    with torch.no_grad():
        policy.trunk.time.add_(1)
    policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert card.data.eval_results is None
    assert "reach_store" not in card.text
    with pytest.raises(CheckpointError, match="about other weights"):
        policy.push_to_hub(REPO, report=tmp_path / "run" / "report", token=TOKEN, endpoint=hub.address)
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no report of seerkit eval"):
        policy.push_to_hub(REPO, report=tmp_path / "no.json", token=TOKEN, endpoint=hub.address)


def test_the_command_pushes_a_checkpoint(hub: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seerkit.cli import app

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    policy = small_policy("seer_tabletop")
    checkpoint = run_of(policy, tmp_path)
    words = ["push", str(checkpoint), REPO, "--tag", "v1", "--endpoint", hub.address]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"{hub.address}/{REPO}" in done.output
    assert 'revision="v1"' in done.output
    assert same(policy, Policy.from_pretrained(REPO, revision="v1", endpoint=hub.address))
    assert b"16 of 20" in hub.files(REPO)["README.md"]


def test_the_command_fetches_encoders(hub: Loopback, tmp_path: Path) -> None:
    from seerkit.cli import app

    hub.put(MAE_REPO, {MAE_FILE: published_file()})
    (tmp_path / "small.yaml").write_text(frozen_policy().recipe.yaml())
    words = ["fetch", str(tmp_path / "small.yaml"), "--endpoint", hub.address]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert VIT in done.output
    assert hub.fetched() == [MAE_FILE]


# -- frozen encoders ------------------------------------------------------------------------------------------------


def test_frozen_encoders_stay_where_they_are_and_are_put_back(hub: Loopback, tmp_path: Path) -> None:
    hub.put(MAE_REPO, {MAE_FILE: published_file()})
    (tmp_path / "small.yaml").write_text(frozen_policy().recipe.yaml())
    policy = build_policy(str(tmp_path / "small.yaml"), fetch=True, endpoint=hub.address)
    policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    pushed = load_bytes(hub.files(REPO)["model.safetensors"])
    assert not any(name.startswith(VIT) for name in pushed)
    assert MAE.encode() in hub.files(REPO)["README.md"]
    assert same(policy, Policy.from_pretrained(REPO, endpoint=hub.address))
    policy.push_to_hub("ada/whole", include_frozen=True, token=TOKEN, endpoint=hub.address)
    assert any(name.startswith(VIT) for name in load_bytes(hub.files("ada/whole")["model.safetensors"]))
    del hub.repos[MAE_REPO]
    assert same(policy, Policy.from_pretrained("ada/whole", endpoint=hub.address))


def test_an_encoder_from_a_path_must_travel_along(hub: Loopback, tmp_path: Path) -> None:
    save_file(published(), tmp_path / "mae.safetensors")
    (tmp_path / "small.yaml").write_text(frozen_policy().recipe.yaml())
    policy = build_policy(str(tmp_path / "small.yaml"), f"{SOURCE}={tmp_path / 'mae.safetensors'}")
    with pytest.raises(CheckpointError, match=f"{VIT} .*came from a path.*include_frozen=True"):
        policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    assert hub.log == []
    policy.push_to_hub(REPO, include_frozen=True, token=TOKEN, endpoint=hub.address)
    assert str(tmp_path).encode() not in b"".join(hub.files(REPO).values())
    again = Policy.from_pretrained(REPO, endpoint=hub.address)
    assert same(policy, again)
    assert again.recipe.config["encoders"]["image"]["source"]["vit"] == "checkpoint"


def test_nothing_of_this_machine_is_published(hub: Loopback, tmp_path: Path) -> None:
    """A trained encoder began from a path, the policy from a folder whose name reads like a repository's."""
    save_file(published(), tmp_path / "mae.safetensors")
    trained = "encoders.image.module.vit.frozen=false"
    policy = frozen_policy(trained, f"{SOURCE}={tmp_path / 'mae.safetensors'}", "init_from.checkpoint=runs/secret")
    policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    sent = b"".join(hub.files(REPO).values())
    assert str(tmp_path).encode() not in sent
    assert b"runs/secret" not in sent
    again = Policy.from_pretrained(REPO, endpoint=hub.address)
    assert same(policy, again)
    assert again.recipe.config["encoders"]["image"]["source"]["vit"] == "checkpoint"
    assert policy.recipe.config["init_from"]["checkpoint"] == "runs/secret", "the policy at hand is as it was"


# -- what can go wrong ----------------------------------------------------------------------------------------------


def test_missing_things_are_named(hub: Loopback) -> None:
    with pytest.raises(
        HubError, match=rf"{REPO}: recipe\.yaml: no such repository at {hub.address}.*no folder '{REPO}' here"
    ):
        build_policy(REPO, endpoint=hub.address)
    small_policy("seer_tabletop").push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    with pytest.raises(HubError, match="at v9: the repository has no such revision"):
        Policy.from_pretrained(REPO, revision="v9", endpoint=hub.address)
    with pytest.raises(CheckpointError, match="revision='v1' is of a repository"):
        Policy.from_pretrained(".", revision="v1")
    files = hub.files(REPO)
    hub.put("ada/half", {"recipe.yaml": files["recipe.yaml"]})
    with pytest.raises(HubError, match=r"model\.safetensors.*no such file"):
        Policy.from_pretrained("ada/half", endpoint=hub.address)


@pytest.mark.parametrize("wrong", ["hf_wrong", None])
def test_a_wrong_token_is_said_to_be_wrong(hub: Loopback, wrong: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    policy = small_policy("seer_tabletop")
    with pytest.raises(HubError, match=r"refused the token|no such repository") as caught:
        policy.push_to_hub(REPO, token=wrong, endpoint=hub.address)
    assert "\n" not in str(caught.value)
    assert hub.repos == {}
    policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    if wrong:
        with pytest.raises(HubError, match="refused the token"):
            Policy.from_pretrained(REPO, token=wrong, endpoint=hub.address)


def test_a_busy_hub_is_asked_again(hub: Loopback) -> None:
    policy = small_policy("seer_tabletop")
    hub.busy = [503, 503]
    policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    hub.busy = [503, 502]
    assert same(policy, Policy.from_pretrained(REPO, endpoint=hub.address))
    assert hub.busy == []
    hub.busy = [503] * 50
    with pytest.raises(HubError, match=r"is busy \(503\) and stayed so over 3 attempts"):
        Policy.from_pretrained(REPO, endpoint=hub.address)


def test_without_a_network_the_cache_serves(hub: Loopback) -> None:
    policy = small_policy("seer_tabletop")
    policy.push_to_hub(REPO, token=TOKEN, endpoint=hub.address)
    Policy.from_pretrained(REPO, endpoint=hub.address)
    nowhere = "http://127.0.0.1:9"
    assert same(policy, Policy.from_pretrained(REPO, endpoint=nowhere))
    with pytest.raises(HubError, match=f"no connection to {nowhere}"):
        Policy.from_pretrained("ada/other", endpoint=nowhere)
    with pytest.raises(HubError, match=f"no connection to {nowhere}"):
        policy.push_to_hub(REPO, token=TOKEN, endpoint=nowhere)


def test_the_environment_names_the_hub(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = small_policy("seer_tabletop")
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    policy.push_to_hub(REPO, token=TOKEN)
    assert same(policy, build_policy(REPO))


def test_names_that_are_no_repository_never_reach_the_hub(hub: Loopback) -> None:
    for name in ("reach", "a/b/c", "../x", "ada/..", "ada/x y"):
        with pytest.raises(HubError, match="expected a repository"):
            small_policy("seer_tabletop").push_to_hub(name, token=TOKEN, endpoint=hub.address)
    for name in ("seer_tabletopp", "ablation/nothing", "./runs/x", "mine.yaml"):
        with pytest.raises(ValueError, match="no recipe"):
            build_policy(name, endpoint=hub.address)
    assert hub.log == []
