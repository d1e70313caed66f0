"""Windows of CALVIN data: the official Seer's loader against ours, on the same steps and one core.

The official schedule, written from what its code computes (commit ee228e1, ``utils/data_utils.py``): a window opens the
``.npz`` file of each of its 13 steps, decompresses five arrays of it, sends every picture through CLIP's transform
(Pillow's bicubic resize to 224, crop, fp32, normalise), and shifts all frames with `grid_sample`. Ours copies the
window out of a store as uint8; resizing, shifting and normalising belong to the policy, and are done here, too, for
comparison on the CPU. Files are in the page cache. What is compared is equal first: the frames to the bit, the prepared
tensors to rounding.

``--data`` takes a CALVIN folder instead of made-up steps (see `calvin_folder`); it is copied into stores first.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from calvin_folder import write_calvin
from measure import interleaved, report, rounded
from PIL import Image
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from seerkit import keys
from seerkit.camera.pixels import Pixels, PixelsAndFuture
from seerkit.camera.shift import apply_shift
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.official import OfficialWindows
from seerkit.data.source import Source
from seerkit.data.windows import Windows

SIZE, WINDOW, BATCH = 224, 13, 16
SHIFT = {"primary": 10, "wrist": 4}
ARRAYS = {"primary": "rgb_static", "wrist": "rgb_gripper"}
READ = (*ARRAYS.values(), "robot_obs", "rel_actions", "scene_obs")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
GOALS = {
    "raw windows per second, times official": (50.0, True),
    "fp32 windows per second, times official": (3.0, True),
    "store on disk, share of npz": (0.65, False),
    "jpeg store on disk, share of npz": (0.15, False),
    "bytes to the device, share of official": (0.12, False),
}
"""What is asked, and whether more is better."""


def official_frames(folder: Path, start: int) -> dict[str, np.ndarray]:
    """Read a window as the official loader does: arrays ``(13, ...)`` by name."""
    files = [np.load(folder / f"episode_{number:07d}.npz") for number in range(start, start + WINDOW)]
    return {name: np.stack([file[name] for file in files]) for name in READ}


def official_tensor(frames: np.ndarray, shifts: Tensor | None, pad: int) -> Tensor:
    """Prepare a window's pictures as the official loader does: float32 ``(1, 13, 3, 224, 224)``."""
    pictures = [Image.fromarray(picture.astype(np.uint8)) for picture in copy.deepcopy(frames)]
    window = torch.stack([_clip_transform(picture) for picture in pictures])
    batch = torch.stack([window])
    return batch if shifts is None else _grid_shift(batch[0], shifts, pad)[None]


def _clip_transform(picture: Image.Image) -> Tensor:
    """Resize, crop and convert, each a picture of its own; then to fp32, and normalise a copy of that."""
    resized = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC).crop((0, 0, SIZE, SIZE)).convert("RGB")
    levels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float().div(255)
    return levels.clone().sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])


def _grid_shift(frames: Tensor, shifts: Tensor, pad: int) -> Tensor:
    """Shift by ``shifts`` pixels of the padded picture, ``(N, 2)``, with a sampling grid for each."""
    side = SIZE + 2 * pad
    padded = functional.pad(frames, (pad,) * 4, "replicate")
    line = torch.linspace(-1 + 1 / side, 1 - 1 / side, side)[:SIZE]
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).repeat(len(frames), 1, 1, 1)
    moved = grid + shifts[:, None, None].float() * (2 / side)
    return functional.grid_sample(padded, moved, padding_mode="zeros", align_corners=False)


def official_window(folder: Path, start: int) -> dict[str, Tensor]:
    """Do all the work of one window of the official loader."""
    arrays = official_frames(folder, start)
    out = {name: torch.from_numpy(arrays[name]).float() for name in READ[2:]}
    for camera, name in ARRAYS.items():
        shifts = torch.randint(1, 2 * SHIFT[camera] + 1, (WINDOW, 2))
        out[camera] = official_tensor(arrays[name], shifts, SHIFT[camera])
    return out


def preparation(*, train: bool) -> dict[str, PixelsAndFuture]:
    """Return what the policy does with each camera's frames."""
    given = {"size": SIZE, "mean": MEAN, "std": STD}
    return {name: PixelsAndFuture(pixels=Pixels(**given, shift=pad)).train(train) for name, pad in SHIFT.items()}


def prepared(batch: TensorDict, prepare: dict[str, PixelsAndFuture]) -> dict[str, tuple[Tensor, Tensor]]:
    """Prepare a batch of our windows on the CPU."""
    with torch.no_grad():
        return {name: stage(batch[*keys.IMAGE, name], batch[*keys.FUTURE, name]) for name, stage in prepare.items()}


def check_equal(folder: Path, windows: Windows, starts: Tensor) -> dict[str, float]:
    """Compare some windows of both; return how far apart what is prepared is.

    Raises:
        RuntimeError: a frame, a state or an action differs at all, or a prepared pixel by more than rounding.
    """
    worst = {"prepared": 0.0, "shifted": 0.0}
    batch = windows.gather(starts)
    still = prepared(batch, preparation(train=False))
    for row, start in enumerate(starts.tolist()):
        arrays = official_frames(folder, start)
        state = torch.from_numpy(arrays["robot_obs"]).float()[:10, [0, 1, 2, 3, 4, 5, 14]]
        same = [torch.equal(batch[keys.STATE][row], state)]
        chunk = torch.from_numpy(arrays["rel_actions"]).float().unfold(0, 3, 1)[:10].transpose(1, 2)
        same.append(torch.equal(batch[keys.TARGET_CHUNK][row], chunk))
        for camera, name in ARRAYS.items():
            ours = torch.cat([batch[*keys.IMAGE, camera][row], batch[*keys.FUTURE, camera][row]])
            same.append(np.array_equal(ours.permute(0, 2, 3, 1).numpy(), arrays[name]))
            now, later = still[camera]
            mine, theirs = torch.cat([now[row], later[row, -3:]]), official_tensor(arrays[name], None, 0)[0]
            worst["prepared"] = max(worst["prepared"], float((mine - theirs).abs().max()))
            shifts = torch.randint(1, 2 * SHIFT[camera] + 1, (WINDOW, 2))
            moved = apply_shift(mine, shifts, SHIFT[camera])
            theirs = _grid_shift(theirs, shifts, SHIFT[camera])
            worst["shifted"] = max(worst["shifted"], float((moved - theirs).abs().max()))
        if not all(same):
            raise RuntimeError(f"window {start}: frames, state or actions differ from the official loader's")
    if worst["prepared"] > 1e-6 or worst["shifted"] > 2e-4:
        raise RuntimeError(f"prepared pixels differ from the official loader's by {worst}")
    return worst


def timings(folder: Path, sources: dict[str, OfficialWindows], *, rounds: int) -> dict[str, float]:
    """Return the CPU milliseconds per window of each way."""
    train = preparation(train=True)
    count = len(sources["store"])
    draw = torch.Generator().manual_seed(0)

    def numbers(many: int) -> Tensor:
        return torch.randint(0, count, (many,), generator=draw)

    def full(windows: OfficialWindows) -> Callable[[], object]:
        return lambda: prepared(windows.gather(numbers(1)), train)

    runs: dict[str, Callable[[], object]] = {"official": lambda: official_window(folder, int(numbers(1)))}
    runs |= {
        f"raw, {name}": lambda windows=windows: windows.gather(numbers(BATCH)) for name, windows in sources.items()
    }
    runs["fp32, store"] = full(sources["store"])
    runs["official, reading only"] = lambda: official_frames(folder, int(numbers(1)))
    many = {"official": 1, "official, reading only": 1, "fp32, store": 1}
    return {name: 1000 * s / many.get(name, BATCH) for name, s in interleaved(runs, rounds=rounds).items()}


def size(path: Path, pattern: str = "*") -> int:
    """Return the bytes of all files."""
    return sum(file.stat().st_size for file in path.rglob(pattern) if file.is_file())


def cut(source: Source) -> OfficialWindows:
    """Cut the official windows of all steps, so that both loaders read the same frames."""
    return OfficialWindows(Windows(source, steps=10, chunk=3, ahead=3), window=WINDOW)


@contextlib.contextmanager
def folders(given: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """Yield the CALVIN folder and an empty one beside it."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        steps = given.steps or (40 if given.quick else 2000)
        yield given.data or write_calvin(work / "calvin", steps=steps), work


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 steps, few repetitions: does it run at all?")
    parser.add_argument("--rounds", type=int, help="repetitions of each timing")
    parser.add_argument("--steps", type=int, help="how many steps are made up")
    parser.add_argument("--data", type=Path, help="a CALVIN folder of one episode that begins with file 0")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with folders(given) as (path, work):
        source = open_source(path, threads=1)
        folder = path / "training"
        raw, small = convert(source, work / "raw"), convert(source, work / "jpeg", frames="jpeg")
        windows = {"store": cut(raw), "jpeg store": cut(small), "npz in place": cut(source)}
        some = torch.linspace(0, len(windows["store"]) - 1, 2 if given.quick else 20).long()
        worst = check_equal(folder, windows["store"], some)
        milliseconds = timings(folder, windows, rounds=given.rounds or (1 if given.quick else 15))
        npz = size(folder, "episode_*.npz") / len(source)
        disk = {name: size(work / name) / len(source) for name in ("raw", "jpeg")}
    batch = windows["store"].gather(torch.tensor([0]))
    theirs = sum(value.nbytes for value in official_window_shapes())
    shares = [milliseconds["official"] / milliseconds[name] for name in ("raw, store", "fp32, store")]
    shares += [disk["raw"] / npz, disk["jpeg"] / npz, payload(batch) / theirs]
    figures = dict(zip(GOALS, shares, strict=True))
    met = {name: figures[name] >= goal if more else figures[name] <= goal for name, (goal, more) in GOALS.items()}
    details = {"figures": rounded(figures), "met": met, "CPU ms per window": rounded(milliseconds)}
    details |= {"kB per step": rounded({"npz": npz / 1e3, **{name: bytes / 1e3 for name, bytes in disk.items()}})}
    details |= {"largest difference": rounded(worst), "steps": len(source), "pictures": str(given.data or "made up")}
    goals = {name: goal for name, (goal, _) in GOALS.items()}
    report("data", ratio=round(shares[0], 1), goal=goals, ok=all(met.values()), details=details)


def official_window_shapes() -> list[Tensor]:
    """Return tensors as large as those that the official loader hands over for one window."""
    frames = [torch.empty(WINDOW, 3, SIZE, SIZE, device="meta") for _ in ARRAYS]
    return [*frames, torch.empty(WINDOW, 15, device="meta"), torch.empty(WINDOW, 7, device="meta")]


def payload(batch: TensorDict) -> int:
    """Return the bytes of our window's tensors."""
    leaves = itertools.chain(batch.items(include_nested=True, leaves_only=True))
    return sum(value.nbytes for _, value in leaves if isinstance(value, Tensor))


if __name__ == "__main__":
    main()
