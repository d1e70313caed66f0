"""Moments of policies: taken from data or played, looked at, drawn."""

from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from seerkit import load_recipe
from seerkit.cli import app
from seerkit.data.conventions import Conventions
from seerkit.data.store import Store, StoreError
from seerkit.data.writer import StoreWriter
from seerkit.eval.quality import psnr, ssim
from seerkit.eval.scene import Scene
from seerkit.policy import Policy
from seerkit.viz.look import look
from seerkit.viz.moment import Moment, from_data, from_episode
from seerkit.viz.picture import draw, heat, overlay
from tests.eval.fakes import FakeReach
from tests.small import small_policy

SIZE = 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two episodes of a bright square that walks over noise, and one of three steps."""
    path, draw_noise = tmp_path_factory.mktemp("data") / "walk", torch.Generator().manual_seed(0)
    with StoreWriter(path, Conventions(cameras={"primary": (3, SIZE, SIZE), "wrist": (3, SIZE, SIZE)})) as writer:
        for number, length in enumerate((20, 24, 3)):
            ground = torch.randint(0, 120, (3, SIZE, SIZE), dtype=torch.uint8, generator=draw_noise)
            frames = ground.repeat(length, 1, 1, 1)
            for step in range(length):
                frames[step, :, 8:14, step : step + 6] = 250
            numbers = torch.rand(length, 7, generator=draw_noise)
            numbers[:, 6] = 1
            images = {"primary": frames, "wrist": frames.flip(-1).contiguous()}
            writer.add(images, numbers, numbers, instruction=f"push {number}", seed=number, task="walk")
    return Store(path)


@pytest.fixture(scope="module")
def tabletop() -> Policy:
    return of_walks("seer_tabletop")


@cache
def of_walks(recipe: str, *overrides: str) -> Policy:
    """Build a small policy that takes the store's windows for its own."""
    data = load_recipe(recipe).config["data"]
    any_data = [f"data.{name}=null" for name in ("fps", "state") if name in data]
    whole = f"{'' if 'segments' in data else '+'}data.segments=all"
    torch.manual_seed(0)
    return small_policy(recipe, *overrides, *any_data, whole).eval()


def test_a_window_shows_what_was_and_what_came(tabletop: Policy, store: Store) -> None:
    moment = from_data(tabletop, store, 21)
    assert (moment.instruction, moment.ahead, moment.title) == ("push 1", 3, "walk, window 21 of 47")
    first = store.episodes[1].start + 1  # window 21 is the second one of episode 1
    view = look(tabletop, moment)
    for name, camera in view.cameras.items():
        frames = store.frames[name]
        assert np.array_equal(camera.now, np.asarray(frames[first]))
        assert camera.real is not None
        assert np.array_equal(camera.real, np.asarray(frames[first + 3]))
        assert camera.predicted is not None
        assert camera.foreseen is not None
        assert camera.repeated is not None
        guess, real = camera.predicted.transpose(1, 2, 0), camera.real.transpose(1, 2, 0)
        assert (camera.foreseen.psnr, camera.foreseen.ssim) == (psnr(guess, real), ssim(guess, real))
        assert camera.repeated.psnr == psnr(camera.now.transpose(1, 2, 0), real)
    assert view.notes == ()


@pytest.mark.parametrize("recipe", ["seer_tabletop", "seer_calvin", "seer_calvin_pretrain"])
def test_what_is_predicted_is_the_policys_own_foresight(recipe: str, store: Store) -> None:
    policy = of_walks(recipe)
    moment = from_data(policy, store, 4)
    assert moment.at == policy.steps - policy.goal_ahead - 1
    view, known = look(policy, moment), policy.foresee(moment.td)
    for name, camera in view.cameras.items():
        assert camera.predicted is not None
        off = np.abs(camera.predicted.astype(int) - known[name][0, moment.at].numpy())
        assert off.max() <= 1  # rounding: the trunk computes fewer tokens


def test_the_end_of_an_episode_and_short_episodes(store: Store) -> None:
    policy = of_walks("seer_calvin")
    last = from_data(policy, store, 10)  # steps 10..19 of 20: what is foreseen at 19 lies beyond
    assert last.later == {}
    view = look(policy, last)
    assert view.cameras["primary"].foreseen is None
    assert "was over" in view.notes[0]
    short = from_data(policy, store, 26)
    assert (short.instruction, short.at, short.td["observation", "state"].shape[1]) == ("push 2", 2, 3)
    with pytest.raises(IndexError, match=r"window in 0\.\.26, given 27"):
        from_data(policy, store, 27)
    goal = of_walks("seer_calvin_pretrain")
    with pytest.raises(ValueError, match="has 3 steps"):
        from_data(goal, store, 18)


@pytest.mark.parametrize("steps", [0, 2, 6])
@pytest.mark.parametrize("action", ["chunk", "flow"])
def test_a_played_moment_is_what_the_agent_lived_through(action: str, steps: int) -> None:
    policy = of_walks("seer_tabletop", "steps=4", f"action={action}")
    moment = from_episode(policy, Scene(FakeReach), seed=5, step=steps)
    agent, env = policy.agent(), FakeReach()
    agent.reset(seeds=[5])
    observation, _ = env.reset(seed=5)
    for _ in range(steps):
        observation, *_ = env.step(agent.act(observation))
    action = agent.act(observation, foresee=True)
    assert moment.instruction == observation["language_instruction"]
    for name, camera in look(policy, moment).cameras.items():
        assert camera.predicted is not None
        assert np.abs(camera.predicted.astype(int) - agent.foresight[name][0]).max() <= 1
    for _ in range(policy.ahead):
        observation, *_ = env.step(action)
        action = agent.act(observation)
    assert np.array_equal(moment.later["wrist"].numpy(), observation["image"]["wrist"])


class Ticks(FakeReach):
    """Ask for another thing every third step, whatever is done; keep what was commanded."""

    commanded: ClassVar[list[np.ndarray]] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        self.commanded.clear()
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.commanded.append(action)
        observation, *rest, info = super().step(action)
        return observation, *rest, {**info, "completed": self.steps // 3}  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize(("step", "known"), [(2, 3), (3, 1), (4, 2), (8, 3)])
def test_between_tasks_a_policy_forgets_as_in_an_evaluation(step: int, known: int) -> None:
    policy = of_walks("seer_tabletop", "steps=4")
    moment = from_episode(policy, Scene(Ticks, round_actions="float16"), seed=5, step=step)
    assert moment.td["observation", "state"].shape[1] == known
    assert {action.dtype for action in Ticks.commanded} == {np.dtype(np.float16)}
    agent, env = policy.agent(), Ticks()
    observation, _ = env.reset(seed=5)
    for now in range(1, step + 1):
        observation, *_ = env.step(agent.act(observation).astype(np.float16))
        if now % 3 == 0:
            agent.reset([True])
    agent.act(observation, foresee=True)
    for name, camera in look(policy, moment).cameras.items():
        assert camera.predicted is not None
        assert np.abs(camera.predicted.astype(int) - agent.foresight[name][0]).max() <= 1


def test_an_episode_that_ends_earlier_is_said_to(tabletop: Policy) -> None:
    def brief() -> FakeReach:
        return FakeReach(limit=4)

    with pytest.raises(ValueError, match="seed 0 was over after 4 steps, before step 5"):
        from_episode(tabletop, Scene(brief), seed=0, step=5)
    with pytest.raises(ValueError, match="seed 0 was over after 3 steps, before step 5"):
        from_episode(tabletop, Scene(brief, horizon=3), seed=0, step=5)
    late = from_episode(tabletop, Scene(brief), seed=0, step=3)
    assert late.later == {}
    with pytest.raises(ValueError, match="0 or more, given -1"):
        from_episode(tabletop, Scene(brief), seed=0, step=-1)


@pytest.mark.parametrize(
    ("recipe", "overrides", "note", "maps", "predicted"),
    [
        ("seer_calvin", (), None, 2, True),
        ("gr1_calvin", (), None, 2, True),
        ("seer_tabletop", ("foresight=none",), "foresees nothing", 2, False),
        ("seer_dino_foresight", (), "foresees features, no pictures", 2, False),
        ("seer_calvin", ("resample=none",), "No token stands for a place", 0, True),
        ("seer_calvin", ("resample=mean_pool",), "Tokens of primary, wrist stand for no place", 0, True),
        ("seer_calvin", ("resample=token_learner",), None, 2, True),
        ("seer_calvin", ("resample=map",), None, 2, True),
        ("seer_calvin", ("cameras=[primary]",), None, 1, True),
        ("gr1_video_pretrain", (), "no action queries", 0, True),
    ],
)
def test_what_can_be_shown_is_shown_and_the_rest_is_said(
    recipe: str, overrides: tuple[str, ...], note: str | None, maps: int, predicted: bool, store: Store
) -> None:
    policy = of_walks(recipe, *overrides)
    moment = from_data(policy, store, 2)
    view = look(policy, moment)
    drawn = [camera.attention for camera in view.cameras.values() if camera.attention is not None]
    assert len(drawn) == maps
    assert all((camera.predicted is not None) is predicted for camera in view.cameras.values())
    assert any(note in told for told in view.notes) if note else view.notes == ()
    if maps:  # what lies on the pictures is part of the image tokens' share
        assert 0 < sum(map(np.sum, drawn)) <= view.shares["image"][0] + 1e-5
        assert sum(map(sum, view.shares.values())) == pytest.approx(1, abs=1e-5)
    picture = draw(view, moment, title=recipe, side=96)
    assert np.asarray(picture).std() > 5


def test_data_that_means_something_else_is_refused(tmp_path: Path) -> None:
    slow = Conventions(cameras={"primary": (3, 8, 8), "wrist": (3, 8, 8)}, frame_rate=5.0)
    with StoreWriter(tmp_path / "slow", slow) as writer:
        frames = {name: torch.zeros(3, 3, 8, 8, dtype=torch.uint8) for name in slow.cameras}
        writer.add(frames, torch.zeros(3, 7), torch.zeros(3, 7), instruction="x", seed=0, task="t")
    with pytest.raises(ValueError, match=r"data\.fps: the recipe expects 15\.0, the data has 5\.0"):
        from_data(small_policy("seer_tabletop"), Store(tmp_path / "slow"), 0)
    far = small_policy("seer_tabletop", "data.fps=null", "+data.segments=unlabelled")
    with pytest.raises(StoreError):
        from_data(far, Store(tmp_path / "slow"), 0)


def test_an_overlay_is_brightest_where_most_is_looked_at() -> None:
    frame = np.full((3, 16, 16), 100, np.uint8)
    shares = np.zeros((4, 4))
    shares[1, 2] = 0.5
    drawn = overlay(frame, shares).astype(int).sum(axis=0)
    assert drawn[4:8, 8:12].min() > drawn[drawn != drawn.max()].max()
    assert heat(np.array([[0.0, 9.0]]), top=3.0)[:, 0, 1].sum() > 500
    assert (overlay(frame, np.ones((4, 4))).std(axis=(1, 2)) == 0).all()  # an even map says nothing, and looks so


def test_a_view_is_one_picture_with_everything_on_it(tabletop: Policy, store: Store) -> None:
    moment = from_data(tabletop, store, 3)
    view = look(tabletop, moment)
    picture = draw(view, moment, title="tiny", side=64)
    assert picture.width >= 5 * 64
    green = np.asarray(picture)[..., 1].astype(int) - np.asarray(picture)[..., 0]
    assert green.max() > 80  # the frame round what was predicted
    assert isinstance(moment, Moment)


def test_the_command_writes_a_picture_and_tells_the_numbers(tabletop: Policy, store: Store, tmp_path: Path) -> None:
    checkpoint = tabletop.save_pretrained(tmp_path / "policy")
    out = tmp_path / "deep/look.png"
    arguments = ["viz", str(checkpoint), "--data", str(store.path), "--window", "5", "--block", "0", "--out", str(out)]
    said = CliRunner(env={"COLUMNS": "100"}).invoke(app, arguments, catch_exceptions=False).output
    camera = look(Policy.from_pretrained(checkpoint), from_data(tabletop, store, 5)).cameras["wrist"]
    assert camera.foreseen is not None
    assert f"{camera.foreseen.psnr:.1f} dB, SSIM {camera.foreseen.ssim:.3f}" in said
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    assert [path.name for path in out.parent.iterdir()] == ["look.png"]
    for wrong, message in (
        (["--data", "x", "--env", "Reach"], "one of the two"),
        ([], "one of the two"),
        (["--data", "x", "--step", "0"], "of data say --window"),
        (["--data", "x", "--option", "a=1"], "of data say --window"),
        (["--env", "Reach", "--window", "0"], "say --seed and --step"),
    ):
        with pytest.raises(ValueError, match=message):
            CliRunner().invoke(app, ["viz", str(checkpoint), *wrong], catch_exceptions=False)


@pytest.mark.sim
def test_the_command_plays_on_the_twin(tabletop: Policy, tmp_path: Path) -> None:
    checkpoint, out = tabletop.save_pretrained(tmp_path / "policy"), tmp_path / "look.png"
    arguments = ["viz", str(checkpoint), "--env", "Reach", "--step", "2", "--out", str(out)]
    said = CliRunner(env={"COLUMNS": "100"}).invoke(app, arguments, catch_exceptions=False).output
    assert "dB, SSIM" in said
    assert out.is_file()


@pytest.mark.calvin
def test_the_command_plays_the_first_sequence_of_calvin(tmp_path: Path) -> None:
    checkpoint, out = small_policy("seer_calvin_tiny").save_pretrained(tmp_path / "policy"), tmp_path / "look.png"
    arguments = ["viz", str(checkpoint), "--env", "calvin_d", "--option", "renderer=tiny", "--step", "1"]
    said = CliRunner(env={"COLUMNS": "100"}).invoke(app, [*arguments, "--out", str(out)], catch_exceptions=False).output
    assert "dB, SSIM" in said
    assert out.is_file()
    with pytest.raises(ValueError, match="--seed: expected a sequence of 0 to 999, given 1000"):
        CliRunner().invoke(app, [*arguments, "--seed", "1000", "--out", str(out)], catch_exceptions=False)
