"""Frames are found by their time, wherever in the file and in whatever order they are asked for."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from seerkit.data.reel import FilmRows, Moment, Reel, look_at
from seerkit.data.source import StoreError
from tests.data.made import pictures
from tests.data.made_lerobot import write_video

RATE, FRAMES = 15.0, 150


@pytest.fixture(scope="module", params=[{"g": "2"}, {"g": "250", "bf": "3"}], ids=["many key frames", "one key frame"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    made = pictures(np.random.default_rng(0), FRAMES, (32, 48))
    write_video(path, made, rate=RATE, **request.param)
    return path, made


def test_jumps_give_what_one_pass_gives(film: tuple[Path, np.ndarray]) -> None:
    path, made = film
    about = look_at(path)
    assert (about.size, about.frame_rate, about.frames) == ((32, 48), RATE, FRAMES)
    reel = Reel(path)
    with av.open(str(path)) as box:
        passed = np.stack([frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)])
    one_by_one = [reel.frame(step / RATE, tolerance=1e-4) for step in range(FRAMES)]
    assert np.array_equal(np.stack(one_by_one), passed)
    assert np.abs(passed.transpose(0, 3, 1, 2).astype(float) - made).mean() < 4
    for step in (149, 0, 100, 99, 101, 3, 60, 60, 148):
        assert np.array_equal(reel.frame(step / RATE, tolerance=1e-4), passed[step])
    assert np.array_equal(reel.frame(7.4 / RATE, tolerance=0.5 / RATE), passed[7])
    assert np.array_equal(reel.frame(7.6 / RATE, tolerance=0.5 / RATE), passed[8])
    for seconds in (-0.1, 7.4 / RATE, FRAMES / RATE, 1000.0):
        with pytest.raises(StoreError, match=r"film.mp4: no frame at"):
            reel.frame(seconds, tolerance=0.02)
    reel.close()


def test_rows_of_several_films(film: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, _ = film
    other = tmp_path / "other.mp4"
    write_video(other, pictures(np.random.default_rng(1), 20, (32, 48)), rate=RATE)

    rows = FilmRows(_Where(path, other), shape=(170, 3, 32, 48))
    everything = rows.take(torch.arange(170))
    index = torch.randint(0, 170, (4, 10), generator=torch.Generator().manual_seed(0))
    assert torch.equal(rows.take(index), everything[index])
    assert torch.equal(pickle.loads(pickle.dumps(rows)).take(index), everything[index])


class _Where:
    def __init__(self, first: Path, second: Path) -> None:
        self.first, self.second = first, second

    def __call__(self, row: int) -> Moment:
        path, step = (self.first, row) if row < FRAMES else (self.second, row - FRAMES)
        return Moment(path, step / RATE, 1e-4)


def test_a_film_that_is_to_be_turned_is_refused(film: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """A telephone's: the track's matrix says to turn it by 90 degrees."""
    straight = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    before, _, after = film[0].read_bytes().rpartition(straight)
    (tmp_path / "turned.mp4").write_bytes(before + turned + after)
    with pytest.raises(StoreError, match=r"turned.mp4: it is to be shown rotated by -?90 degrees"):
        Reel(tmp_path / "turned.mp4").frame(0.0, tolerance=0.1)
