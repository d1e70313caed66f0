import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from seerkit import build_policy
from seerkit.cli import app
from seerkit.eval.actors import ExpertActor, RandomActor
from seerkit.eval.curves import Series, figures, listening
from seerkit.eval.evaluate import Plan, evaluate, plan_of, warnings
from seerkit.eval.provenance import file_hash, weights_hash
from seerkit.eval.records import Episode, Rollout
from seerkit.eval.rollout import rollout
from seerkit.eval.scene import Scene
from seerkit.policy import Policy
from tests.eval.fakes import FakeAgent, FakeReach
from tests.small import small_policy

FAKE = Scene(FakeReach, horizon=12, start="fork")


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    return build_policy("seer_tabletop", "trunk.depth=1", "dim=32", "trunk.heads=2")


def test_evaluate_a_checkpoint_into_a_folder(policy: Policy, tmp_path: Path) -> None:
    checkpoint = policy.save_pretrained(tmp_path / "run/checkpoints/last")
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    told: list[str] = []
    plan = Plan(FAKE, episodes=3, record=1)
    report = evaluate(checkpoint, plan, out=tmp_path / "out", progress=lambda name, *_: told.append(name))
    assert told == ["trained"] * 3 + ["expert"] * 3 + ["random"] * 3
    assert set(report.recordings[0].foresight) == {"primary", "wrist"}
    written = json.loads((tmp_path / "out/report.json").read_text())
    known = written["provenance"]
    assert known["recipe"]["hash"] == policy.recipe.hash
    assert known["recipe"]["config"]["ensemble"] == policy.recipe.config["ensemble"]
    assert known["weights"]["sha256"] == weights_hash(policy.state_dict())
    assert known["weights"]["file_sha256"] == file_hash(checkpoint / "model.safetensors")
    assert (known["protocol"]["first_seed"], known["protocol"]["last_seed"]) == (1_000_000, 1_000_002)
    assert known["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert known["image_pipeline"]["frames"] == {"FakeReach": {"primary": [3, 16, 16], "wrist": [3, 16, 16]}}
    assert known["conventions"]["policy"]["state"] == "pose_gripper"
    assert known["execution"]["sampler"] is None
    assert written["actors"]["trained"]["latency"]["warm_up_ms"] > 0
    assert (written["benchmark"], written["published"]) == (None, [])
    assert written["training"]["last"] == {"loss": 1.0}
    assert (tmp_path / "out/report.html").stat().st_size > 20_000


def test_the_same_policy_gives_the_same_episodes_twice(policy: Policy) -> None:
    plan = Plan(FAKE, episodes=4, record=0, baselines=())
    assert evaluate(policy, plan).rollouts["trained"].episodes == evaluate(policy, plan).rollouts["trained"].episodes


class Walker:
    """Dress the fake agent up as a policy: slow enough to fail now and then."""

    def __init__(self, policy: Policy) -> None:
        self.recipe, self.state_dict, self.parameters = policy.recipe, policy.state_dict, policy.parameters

    def agent(self, *, batch_size: int) -> FakeAgent:
        return FakeAgent(batch_size)


def test_a_failure_is_filmed_if_there_is_one(policy: Policy) -> None:
    scene = Scene(FakeReach, horizon=24, start="fork")
    plan = Plan(scene, episodes=12, seed=2, record=1, baselines=())
    played = evaluate(Walker(policy), plan).rollouts["trained"]  # type: ignore[arg-type]
    assert 0 < played.successes < 12
    outcomes = [recording.episode.success for recording in played.recordings]
    assert played.recordings[0].episode.index == 0
    assert False in outcomes
    assert len(played.episodes) == 12


def test_weights_hash_depends_on_names_values_and_nothing_else() -> None:
    one = {"a": torch.arange(4.0), "b": torch.tensor(2, dtype=torch.bfloat16)}
    assert weights_hash(one) == weights_hash(dict(reversed(one.items())))
    assert weights_hash(one) != weights_hash({**one, "a": torch.arange(4.0) + 1e-6})
    assert weights_hash(one) != weights_hash({"c": one["a"], "b": one["b"]})


def test_a_recipe_says_where_to_evaluate() -> None:
    config = {"eval": {"env": "Reach", "episodes": 7, "horizon": 30, "options": {"image_size": 32}}}
    plan = plan_of(config, workers=3, seed=None)
    assert plan.scenes == (Scene("seerkit/Tabletop-Reach-v0", {"image_size": 32}, 30),)
    assert (plan.episodes, plan.workers, plan.seed) == (7, 3, 1_000_000)
    assert plan_of(config, env=["Reach", "PickPlace"]).scenes[1].task == "PickPlace"
    assert plan_of(config).to_dict()["horizon"] == {"seerkit/Tabletop-Reach-v0": 30}


def test_bad_plans_are_named() -> None:
    with pytest.raises(ValueError, match=r"no eval\.env"):
        plan_of({})
    with pytest.raises(ValueError, match=r"\['experts'\]"):
        Plan("Reach", baselines=("experts",))
    with pytest.raises(ValueError, match="did you mean 'Reach'"):
        Plan("Raech")
    with pytest.raises(ValueError, match="at least one"):
        Plan([])


def outcome(successes: int, of: int) -> Rollout:
    return Rollout(tuple(Episode(index, index, "Reach", "", index < successes, 9) for index in range(of)))


@pytest.mark.parametrize("term", ["arm", "bins", "denoise"])
def test_warnings_say_what_weakens_the_numbers(term: str) -> None:
    assert warnings({"trained": outcome(45, 50), "expert": outcome(50, 50), "random": outcome(0, 50)}, {}) == []
    deaf = {
        f"val_loss_{term}": Series(f"val_loss_{term}", (1,), (0.05,)),
        f"val_loss_{term}_wrong_word": Series(f"val_loss_{term}_wrong_word", (1,), (0.051,)),
    }
    told = warnings({"trained": outcome(4, 5), "expert": outcome(40, 50), "random": outcome(20, 50)}, deaf)
    assert [next(word for word in ("wide", "expert", "Random", "listens") if word in line) for line in told] == [
        "wide",
        "expert",
        "Random",
        "listens",
    ]


def test_a_policy_told_by_a_goal_is_warned_about_its_goal() -> None:
    curves = {name: Series(name, (1,), (0.05,)) for name in ("val_loss_arm", "val_loss_arm_wrong_goal")}
    assert listening(curves) == 1.0
    assert "A wrong goal changes" in warnings({"trained": outcome(45, 50)}, curves)[0]
    chart = next(figure for figure in figures(curves) if figure.title == "Does it listen?")
    assert [series.name for series in chart.series] == ["right goal", "wrong goal"]


@pytest.mark.sim
@pytest.mark.slow
def test_on_the_twin(policy: Policy, tmp_path: Path) -> None:
    plan = Plan("seerkit/Tabletop-ReachColor-v0", episodes=4, record=1)
    report = evaluate(policy, plan, out=tmp_path)
    assert report.rate("expert").value == 1.0
    assert report.rate("random").value == 0.0
    words = {episode.instruction for episode in report.rollouts["trained"].episodes}
    assert len(words) > 1
    assert all("block" in word for word in words)
    assert report.provenance["renderer"]["library"] in {"egl", "osmesa", "glfw"}
    recording = report.recordings[0]
    assert recording.foresight["wrist"].shape[1:] == (3, 64, 64)
    assert np.ptp(recording.frames["primary"][0]) > 50
    assert report.write_still(tmp_path / "still.png").stat().st_size > 5000


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("make", [ExpertActor, RandomActor])
def test_the_twin_does_not_care_who_plays_which_episode(make: type) -> None:
    scene = Scene("Reach", horizon=40)
    assert rollout(make(), scene, episodes=4, workers=1).episodes == rollout(make(), scene, episodes=4).episodes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--env", "Reach", "--fresh", "--apart"], "--apart or --together and --fresh with CALVIN, given for"),
        (["--env", "Reach", "--sequences", "3"], "--sequences with CALVIN"),
        (["--env", "calvin_d", "--seed", "3"], "no --seed on CALVIN"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(given: list[str], said: str, tmp_path: Path) -> None:
    checkpoint = small_policy("seer_calvin_tiny").save_pretrained(tmp_path / "policy")
    with pytest.raises(ValueError, match=said):
        CliRunner().invoke(app, ["eval", str(checkpoint), *given], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


@pytest.mark.parametrize("option", ["--episodes", "--sequences", "--workers", "--threads"])
def test_nothing_to_play_is_no_request_for_everything(option: str) -> None:
    told = CliRunner().invoke(app, ["eval", "checkpoint", option, "0"])
    assert told.exit_code == 2
