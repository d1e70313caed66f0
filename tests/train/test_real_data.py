"""Small Seer recipes learn for a few updates from LIBERO files and folders of steps, in place and mixed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from seerkit.cli import app
from seerkit.data.conventions import ConventionError
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.sampler import Sampler
from seerkit.data.toggles import around_toggles
from seerkit.data.windows import Windows
from seerkit.train.checkpoint import Checkpoints
from seerkit.train.loop import TrainingError, train
from seerkit.train.settings import Settings
from seerkit.train.windows import mixed_windows, training_windows
from tests.data import made_libero, made_seer_real
from tests.data.made import episodes
from tests.small import small_policy, small_recipe

MADE = episodes(4, (16, 22, 19, 30), size=(32, 40), wrist=(32, 32))
QUICK = Settings(updates=3, warmup=1, batch_size=4, holdout=0.25, validation_windows=4, log_every=1, save_every=1)
PLAIN = ("goal=none", "init_from=null")
"""CLIP's text encoder takes most of the time and has nothing to do with the data."""


@pytest.fixture(scope="module")
def libero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_libero.write(tmp_path_factory.mktemp("data") / "libero", MADE)


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_seer_real.write(tmp_path_factory.mktemp("data") / "robot", MADE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [("seer_libero_long", "init_from=null"), ("seer_libero_pretrain", "goal=none")], ids=str
)
def test_libero_in_place_and_from_a_store(libero: Path, tmp_path: Path, recipe: tuple[str, str]) -> None:
    """The same updates, to the bit."""
    weights = []
    for name, source in (("place", libero), ("store", convert(open_source(libero), tmp_path / "store"))):
        torch.manual_seed(0)
        policy = small_policy(*recipe)
        result = train(policy, source, tmp_path / name, settings=QUICK, progress=False)
        assert result.updates == 3
        assert result.metrics["val_loss_arm"] > 0
        weights.append(torch.cat([value.flatten() for value in policy.parameters()]))
    assert torch.equal(*weights)


def test_a_real_robot_s_folders_in_place(robot: Path, tmp_path: Path) -> None:
    policy = small_policy("seer_real", *PLAIN)
    result = train(policy, robot, tmp_path / "run", settings=QUICK, progress=False)
    assert result.updates == 3
    assert {"val_loss_arm", "val_loss_gripper", "val_psnr_primary"} <= result.metrics.keys()


def test_droid_as_seer_writes_it(tmp_path: Path) -> None:
    data = made_seer_real.write(tmp_path / "droid", MADE[:2], "droid")
    train(small_policy("seer_droid_pretrain", *PLAIN), data, tmp_path / "run", settings=QUICK, progress=False)
    windows, _, sentences = training_windows(small_policy("seer_droid_pretrain", *PLAIN), open_source(data), QUICK)
    assert sentences == ["No language instruction."]
    assert len(windows) == int(windows.spans()[2].sum()), "nothing is seen more than once"


def test_libero_is_not_taken_for_a_real_robot(libero: Path, tmp_path: Path) -> None:
    with pytest.raises(ConventionError) as raised:
        train(small_policy("seer_real", *PLAIN), libero, tmp_path / "run", settings=QUICK, progress=False)
    for said in (
        "data.fps: the recipe expects 15.0, the data has 20.0",
        "data.state",
        "data.action_scale",
        "data.gripper",
    ):
        assert said in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_toggles_are_seen_more_often(robot: Path) -> None:
    """Ten times more, and only of what is trained on."""
    source = open_source(robot)
    windows, held, _ = training_windows(small_policy("seer_real", *PLAIN), source, QUICK)
    plain, _, _ = training_windows(small_policy("seer_real", *PLAIN, "data.gripper_events=0"), source, QUICK)
    assert len(around_toggles(plain)) == 3 * 3, "three episodes to learn from, a toggle each, chunks of three"
    assert len(windows) == len(plain) + 10 * 9
    assert isinstance(held, Windows)
    assert len(held) == int(held.spans()[2].sum())


def test_pauses_are_dropped_if_asked(robot: Path) -> None:
    source = open_source(robot)
    lengths = {}
    for pauses in ("keep", "drop"):
        policy = small_policy("seer_real", *PLAIN, f"data.pauses={pauses}", "data.gripper_events=0")
        lengths[pauses] = len(training_windows(policy, source, QUICK)[0].store)
    assert lengths == {"keep": len(source), "drop": len(source)}, "these episodes always move"
    with pytest.raises(ValueError, match=r"data\.pauses must be one of"):
        training_windows(small_policy("seer_real", *PLAIN, "data.pauses=skip"), source, QUICK)
    for wrong in ("-1", "1.5", "true"):
        policy = small_policy("seer_real", *PLAIN, f"data.gripper_events={wrong}")
        with pytest.raises(ValueError, match="must be a count"):
            training_windows(policy, source, QUICK)


@pytest.mark.slow
def test_a_mixture_is_trained_on_and_resumed(robot: Path, tmp_path: Path) -> None:
    """Interrupted and resumed, it ends with the same weights; with other weights it is refused."""
    second = made_seer_real.write(tmp_path / "more", episodes(2, (25,), size=(32, 40), wrist=(32, 32), seed=5))
    ends = []
    for name, stops in (("whole", (3,)), ("parts", (1, 3))):
        for stop in stops:
            torch.manual_seed(0)
            policy = small_policy("seer_real", *PLAIN)
            run = Stopped(stop) if stop < 3 else None
            with run or Unstopped():
                train(
                    policy,
                    [robot, second],
                    tmp_path / name,
                    weights=[1, 3],
                    settings=QUICK,
                    resume=True,
                    progress=False,
                )
        ends.append(torch.cat([value.flatten() for value in policy.parameters()]))
    assert torch.equal(*ends)
    with pytest.raises(TrainingError, match="windows"):
        train(policy, [robot, second], tmp_path / "whole", weights=[3, 1], settings=QUICK, resume=True, progress=False)


class Unstopped:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class Stopped(Unstopped):
    """Interrupt after some updates, as a crash between two checkpoints would."""

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def __enter__(self) -> None:
        self.plain = Checkpoints.save

        def save(checkpoints: Checkpoints, trainer: object, **about: object) -> object:
            saved = self.plain(checkpoints, trainer, **about)  # pyright: ignore[reportArgumentType]
            if trainer.done == self.updates:  # pyright: ignore[reportAttributeAccessIssue]
                raise KeyboardInterrupt
            return saved

        Checkpoints.save = save  # pyright: ignore[reportAttributeAccessIssue]

    def __exit__(self, kind: object, *_: object) -> bool:
        Checkpoints.save = self.plain
        return kind is KeyboardInterrupt


def test_held_out_windows_are_taken_from_every_part(robot: Path, tmp_path: Path) -> None:
    second = made_seer_real.write(tmp_path / "more", episodes(4, (25,), size=(32, 40), wrist=(32, 32), seed=5))
    policy = small_policy("seer_real", *PLAIN)
    sources = [open_source(robot), open_source(second)]
    windows, held, _ = mixed_windows(policy, sources, QUICK, [5, 1])
    assert held is not None
    assert len(held.episodes) == 2
    assert len(held) == sum(len(training_windows(policy, source, QUICK)[1] or ()) for source in sources)
    drawn = Sampler(size=len(windows), batch_size=len(windows)).indices(0)
    assert sorted(drawn.tolist()) == list(range(len(windows)))


@pytest.mark.slow
def test_the_command(robot: Path, tmp_path: Path) -> None:
    second = made_seer_real.write(tmp_path / "more", episodes(2, (25,), size=(32, 40), wrist=(32, 32), seed=5))
    (tmp_path / "small.yaml").write_text(small_recipe("seer_tabletop", *PLAIN).yaml())
    quick = ["train.updates=1", "train.batch_size=2", "train.holdout=0"]
    data = ["--data", str(robot), "--data", str(second), "--weights", "3,1"]
    out = ["--out", str(tmp_path / "run"), "--device", "cpu"]
    done = CliRunner().invoke(app, ["train", str(tmp_path / "small.yaml"), *quick, *data, *out])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "checkpoints" / "last").exists()
    wrong = CliRunner().invoke(app, ["train", "seer_real", *data[:-1], "3;1", *out])
    assert "3;1" in str(wrong.exception)
