"""A mixture: every window of every part, shares by weight, a pure function of the number."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest
import torch

from seerkit.data.conventions import ConventionError, Conventions
from seerkit.data.mixture import Mixture
from seerkit.data.sampler import Sampler
from seerkit.data.store import Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter


def part(path: Path, lengths: tuple[int, ...], *, value: int = 0, steps: int = 2, **changes: object) -> Windows:
    conventions = Conventions(**{"cameras": {"primary": (3, 2, 2)}, **changes})  # pyright: ignore[reportArgumentType]
    with StoreWriter(path, conventions) as writer:
        for number, length in enumerate(lengths):
            numbers = torch.arange(length).float()[:, None] + 100 * number + 1000 * value
            frames = {
                name: torch.full((length, *size), value, dtype=torch.uint8)
                for name, size in conventions.cameras.items()
            }
            arrays = numbers.expand(-1, 7).contiguous()
            writer.add(frames, arrays, arrays, instruction=f"{value}")
    return Windows(Store(path), steps=steps, chunk=3, ahead=1, cameras=["primary"])


@pytest.mark.parametrize("weights", [None, (1, 1), (3, 1), (1, 40), (0.2, 0.7)])
def test_every_window_is_drawn_and_shares_follow_the_weights(tmp_path: Path, weights: tuple[float, ...] | None) -> None:
    parts = [part(tmp_path / "a", (9, 12)), part(tmp_path / "b", (30, 40, 31), value=1)]
    mixture = Mixture(parts, weights)
    place, number = mixture._find(torch.arange(len(mixture)))
    for i, windows in enumerate(parts):
        seen = collections.Counter(number[place == i].tolist())
        assert sorted(seen) == list(range(len(windows)))
        assert max(seen.values()) - min(seen.values()) <= 1, "as evenly as can be"
        assert mixture.drawn[i] == sum(seen.values())
    share = mixture.drawn[0] / len(mixture)
    wanted = len(parts[0]) / (len(parts[0]) + len(parts[1])) if weights is None else weights[0] / sum(weights)
    assert abs(share - wanted) <= 1 / len(mixture)
    assert any(drawn == len(windows) for drawn, windows in zip(mixture.drawn, parts, strict=True)), "one is seen once"


def test_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    parts = [part(tmp_path / "a", (9, 1)), part(tmp_path / "b", (30, 40), value=1)]
    mixture = Mixture(parts, (1, 2))
    index = torch.tensor([len(mixture) - 1, 0, 70, 3, 3, len(mixture) // 2])
    batch = mixture.gather(index)
    place, number = mixture._find(index)
    assert place.unique().tolist() == [0, 1]
    for row in range(len(index)):
        alone = parts[int(place[row])].gather(number[row : row + 1])
        for key in alone.keys(include_nested=True, leaves_only=True):
            if key != "language_instruction":
                assert torch.equal(batch[key][row], alone[key][0]), key
        assert batch["language_instruction"][row] == f"{int(place[row])}"
    assert "step_is_pad" in batch.keys()  # noqa: SIM118 (a TensorDict iterates over rows)
    assert not batch["step_is_pad"][0].any()
    for wrong in (torch.tensor([len(mixture)]), torch.tensor([-1])):
        with pytest.raises(IndexError, match="window numbers"):
            mixture.gather(wrong)


def test_epochs_are_drawn_as_from_one_store(tmp_path: Path) -> None:
    mixture = Mixture([part(tmp_path / "a", (9, 12)), part(tmp_path / "b", (30,), value=1)], (2, 1))
    sampler = Sampler(size=len(mixture), batch_size=len(mixture), seed=3)
    drawn = [mixture.gather(sampler.indices(step))["observation", "state"][:, 0, 0] for step in (0, 1)]
    assert not torch.equal(*drawn)
    assert torch.equal(drawn[0].sort().values, drawn[1].sort().values)


def test_the_next_episode_goes_round_all_parts(tmp_path: Path) -> None:
    mixture = Mixture([part(tmp_path / "a", (9, 12)), part(tmp_path / "b", (30,), value=1)], (5, 1))
    index = torch.arange(len(mixture))
    now, then = (
        mixture.gather(rows)["observation", "state"][:, 0, 0] for rows in (index, mixture.in_next_episode(index))
    )
    follows = {0: 100, 100: 1000, 1000: 0}
    assert torch.equal(then, torch.tensor([float(follows[int(state) // 100 * 100]) for state in now]))
    assert len(mixture.episodes) == 3


def test_parts_must_mean_the_same(tmp_path: Path) -> None:
    first = part(tmp_path / "a", (9,))
    cases = {
        "frame_rate: 15.0 and 20.0": part(tmp_path / "b", (9,), frame_rate=20.0),
        "gripper: ": part(tmp_path / "c", (9,), gripper="-1 open, +1 closed"),
        "action_scale: (0.02, 0.05) and (0.05, 0.5)": part(tmp_path / "d", (9,), action_scale=(0.05, 0.5)),
        "(3, 4, 4)": part(tmp_path / "e", (9,), cameras={"primary": (3, 4, 4)}),
    }
    for said, other in cases.items():
        with pytest.raises(ConventionError) as raised:
            Mixture([first, other])
        assert said in str(raised.value)
        assert str(first.store.path) in str(raised.value)
        assert str(other.store.path) in str(raised.value)
    more = part(tmp_path / "f", (9,), cameras={"primary": (3, 2, 2), "wrist": (3, 8, 8)})
    assert len(Mixture([first, more])) == len(first) + len(more), "cameras nobody asked for do not matter"
    with pytest.raises(ValueError, match="cut alike"):
        Mixture([first, part(tmp_path / "g", (9,), steps=3)])


@pytest.mark.parametrize("weights", [(1,), (1, 0), (1, -1), (1, float("inf")), (1, float("nan")), (1, 2, 3)])
def test_weights_that_say_nothing(tmp_path: Path, weights: tuple[float, ...]) -> None:
    parts = [part(tmp_path / "a", (9,)), part(tmp_path / "b", (9,))]
    with pytest.raises(ValueError, match="2 numbers above 0"):
        Mixture(parts, weights)
    with pytest.raises(ValueError, match="at least one"):
        Mixture([])
