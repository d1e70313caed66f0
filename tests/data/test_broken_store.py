"""Damaged stores: each is refused with the file and what is wrong in it, on opening or by `check`."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seerkit.data.check import check
from seerkit.data.convert import convert
from seerkit.data.store import Conventions, Store, StoreError
from seerkit.data.writer import StoreWriter
from tests.data import made

EPISODES = made.episodes(3, (6, 5, 4), size=(8, 12), wrist=(8, 8))
Break = Callable[[Path], object]


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / request.param
    conventions = Conventions(cameras={"primary": (3, 8, 12), "wrist": (3, 8, 8)})
    with StoreWriter(path, conventions, frames=request.param, segments=True) as writer:
        for episode in EPISODES:
            writer.add(episode["images"], episode["state"], episode["action"], instruction="")
            writer.mark(0, 3, episode["instruction"])
    return path


def meta(change: Callable[[dict[str, Any]], object]) -> Break:
    def damage(path: Path) -> None:
        content = json.loads((path / "store.json").read_text())
        change(content)
        (path / "store.json").write_text(json.dumps(content))

    return damage


def line(table: str, number: int, **fields: object) -> Break:
    """Change one line of a table; a field that is ``None`` goes."""

    def damage(path: Path) -> None:
        lines = [json.loads(text) for text in (path / table).read_text().splitlines()]
        lines[number] |= fields
        lines[number] = {name: value for name, value in lines[number].items() if value is not None}
        (path / table).write_text("".join(json.dumps(one) + "\n" for one in lines))

    return damage


def cut(name: str, size: int) -> Break:
    return lambda path: os.truncate(path / name, size)


def gone(name: str) -> Break:
    return lambda path: (path / name).unlink()


def text(name: str, content: str) -> Break:
    return lambda path: (path / name).write_text(content)


def number(value: float) -> Break:
    """Overwrite one number of a state in the second episode."""

    def damage(path: Path) -> None:
        state = np.memmap(path / "steps/observation/state.memmap", np.float32, "r+").reshape(-1, 7)
        state[8, 2] = value
        state.flush()

    return damage


STATE = r"steps/observation/state\.memmap"
BROKEN: dict[str, tuple[Break, str]] = {
    "no store.json": (gone("store.json"), r"is not a store: it has no store\.json"),
    "store.json cut": (cut("store.json", 40), r"store\.json is not valid JSON"),
    "store.json is a list": (text("store.json", "[]"), r"store\.json: expected format \('seerkit-store', 2\)"),
    "another format": (meta(lambda m: m.update(format="zarr")), r"store\.json: expected format .* got \('zarr', 2\)"),
    "a later version": (meta(lambda m: m.update(version=9)), r"store\.json: expected format .* got .*9\)"),
    "no conventions": (meta(lambda m: m.pop("conventions")), r"store\.json lacks \['conventions'\]"),
    "conventions of nonsense": (meta(lambda m: m.update(conventions={"cameras": 3})), r"store\.json: conventions"),
    "an unknown convention": (meta(lambda m: m["conventions"].update(sign="x")), r"store\.json: conventions.*sign"),
    "a count that is none": (meta(lambda m: m.update(steps="15")), r"store\.json: steps and episodes must be counts"),
    "no steps": (meta(lambda m: m.update(steps=0)), r"store\.json: steps and episodes must be counts, got 0"),
    "more steps than there are": (meta(lambda m: m.update(steps=16)), r"must have \d+ bytes \(16 steps"),
    "an unknown kind of frames": (meta(lambda m: m.update(frames="webp")), r"store\.json: frames must be one of"),
    "a table missing": (gone("episodes.jsonl"), r"episodes\.jsonl is missing; it must list 3 episodes"),
    "a table cut": (cut("episodes.jsonl", 30), r"episodes\.jsonl: a line is not an episode"),
    "a line missing": (meta(lambda m: m.update(episodes=4)), r"episodes\.jsonl must list 4 episodes, it lists 3"),
    "an episode without a start": (line("episodes.jsonl", 1, start=None), r"episodes\.jsonl: a line is not an episode"),
    "an episode of another kind": (line("episodes.jsonl", 1, length="5"), r"episodes\.jsonl: a line is not an episode"),
    "overlapping episodes": (line("episodes.jsonl", 1, start=4, length=5), r"episode 1 must start at step 6"),
    "episodes in another order": (line("episodes.jsonl", 0, start=6), r"episode 0 must start at step 0"),
    "an empty episode": (line("episodes.jsonl", 2, length=0), r"episodes must add up to 15 steps, they have 11"),
    "segments missing": (gone("segments.jsonl"), r"segments\.jsonl is missing; it must list 3 segments"),
    "a segment of no episode": (line("segments.jsonl", 1, episode=7), r"segment 1 lies in episode 7 of 3"),
    "a segment outside": (line("segments.jsonl", 1, start=5), r"segment 1 must lie inside its episode"),
    "an array missing": (gone("steps/observation/state.memmap"), rf"{STATE} must have 420 bytes .*; it is missing"),
    "an array cut": (cut("steps/observation/state.memmap", 419), rf"{STATE} must have 420 bytes .*; it has 419"),
    "not a number": (number(float("nan")), r"episode 1: \('observation', 'state'\) must be finite, .* at step 2"),
    "another number": (number(0.25), r"episode 1: observation/state: checksum .* damaged"),
    "a sentence edited": (line("segments.jsonl", 0, instruction="x"), r"episode None: segments\.jsonl: checksum"),
    "a checksum lost": (
        lambda path: (line("episodes.jsonl", 0, checksums={"action": 0})(path), meta(lambda m: m.pop("tables"))(path)),
        r"episode 0: observation/image/primary: no checksum was recorded",
    ),
}
JPEG: dict[str, tuple[Break, str]] = {
    "pictures cut": (cut("steps/observation/image/wrist.jpeg", 99), r"wrist\.jpeg must have \d+ bytes \(15 pictures\)"),
    "ends cut": (cut("steps/observation/image/wrist.ends.memmap", 119), r"wrist\.ends\.memmap must have 120 bytes"),
    "ends of nonsense": (
        lambda path: np.memmap(path / "steps/observation/image/wrist.ends.memmap", np.int64, "r+").__setitem__(2, 9),
        r"episode 0: .*wrist\.jpeg frame 2: the picture cannot be decoded",
    ),
}


def look(path: Path) -> None:
    """Open a store, read it all, and raise the first thing that is wrong."""
    for finding in check(Store(path)):
        raise StoreError(f"episode {finding.episode}: {finding.array}: {finding.text}".replace(": : ", ": "))


@pytest.mark.parametrize("name", [*BROKEN, *JPEG])
def test_damage_is_named(name: str, sound: Path, tmp_path: Path) -> None:
    if name in JPEG and sound.name == "raw":
        pytest.skip("raw stores have no such file")
    damage, message = (BROKEN | JPEG)[name]
    path = tmp_path / "store"
    shutil.copytree(sound, path)
    look(path)
    damage(path)
    began = time.monotonic()
    with pytest.raises(StoreError, match=message):
        look(path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ["an array cut", "not a number", "overlapping episodes"])
def test_nothing_half_written_appears(name: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    shutil.copytree(sound, path)
    BROKEN[name][0](path)
    with pytest.raises(StoreError):
        convert(Store(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
