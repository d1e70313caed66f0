"""Random checkpoints of the official shapes, full-size and tiny."""

from __future__ import annotations

import json
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from seerkit._compat import ensure_torchvision
from seerkit.convert import gr1
from tests.conftest import golden_folder

ROOT = golden_folder()
MISSING = f"no recorded structures at {ROOT}; set SEERKIT_GOLDEN to the folder that holds them"


def seer(name: str = "seer_calvin") -> dict[str, Tensor]:
    """Random tensors under all 400 names of an official Seer checkpoint, ``module.`` before each."""
    return dict(_seer(name))


@lru_cache(maxsize=1)
def _seer(name: str) -> dict[str, Tensor]:
    entries = json.loads((ROOT / "seer" / "structure" / f"{name}.json").read_text())["keys"]
    return {entry["key"]: noise(entry["shape"], entry["dtype"]) for entry in entries}


def frozen(kind: str, *, without: str = "-") -> dict[str, Tensor]:
    """Random tensors under all names of ``mae_encoder_decoder`` or ``clip`` that have no ``without`` in them."""
    entries = json.loads((ROOT / "seer" / "structure" / "frozen.json").read_text())[kind]
    return {entry["key"]: noise(entry["shape"]) for entry in entries if without not in entry["key"]}


def gr1_state() -> dict[str, Tensor]:
    """Random tensors under all names of a GR-1 checkpoint; what its code computes is as its code computes it."""
    return dict(_gr1())


@lru_cache(maxsize=1)
def _gr1() -> dict[str, Tensor]:
    entries = json.loads((ROOT / "gr1" / "full_state_keys.json").read_text())
    state = {name: noise(shape, dtype) for name, shape, dtype in entries}
    computed = gr1.idle_tensors(384, depth=12, patches=196)
    return state | {name: tensor for name, tensor in computed.items() if "wte" not in name}


def noise(shape: list[int], dtype: str = "float32") -> Tensor:
    kind = getattr(torch, dtype.removeprefix("torch."))
    return torch.empty(shape, dtype=kind).uniform_(-1, 1) if kind.is_floating_point else torch.ones(shape, dtype=kind)


def write(path: Path, state: dict[str, Tensor], wrapper: str) -> Path:
    """Save as the official training code does: the tensors, and other things beside them."""
    torch.save(
        {"epoch": 3, wrapper: state, "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-3}]}}, path
    )
    return path


def read(path: Path, wrapper: str) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)[wrapper]


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Names, types, shapes and every number."""
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert ours[name].shape == tensor.shape, name
        assert torch.equal(ours[name], tensor), name


def tiny_seer() -> tuple[dict[str, Tensor], list[str]]:
    """A recorded tiny Seer's tensors and the overrides of `seer_calvin` that describe it."""
    from tests.parity import golden

    case = ROOT / "seer" / "calvin_finetune"
    settings = golden.config(case)["seer"]
    overrides = [override for override in golden.overrides(settings) if override != "goal=words"]
    tower = f"encoders.goal.module.tower.model={tiny_clip(settings['text_dim'])}"
    state = load_file(case / "state_dict.safetensors")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}, [*overrides, tower]


def tiny_gr1() -> tuple[dict[str, Tensor], list[str]]:
    """A recorded tiny GR-1's tensors, MAE inside, and the overrides of `gr1_calvin` that describe it."""
    folder = ROOT / "gr1" / "full_act_fwd_hand"
    state = load_file(folder / "state.safetensors")
    del state["model_clip.table"]  # the recording's stand-in for CLIP
    image, resample = "encoders.image.module", "encoders.image.module.resample"
    sizes = {"image_size": 32, "patch": 8, "dim": 32, "steps": 4, "trunk.depth": 2, "trunk.heads": 4}
    sizes |= {f"{image}.width": 24, f"{image}.vit.width": 24, f"{image}.vit.depth": 2, f"{image}.vit.heads": 3}
    sizes |= {f"{resample}.width": 24, f"{resample}.latents": 3, f"{resample}.depth": 2}
    sizes |= {f"{resample}.heads": 2, f"{resample}.head_dim": 6, "encoders.goal.module.width": 16}
    sizes |= {"layout.context.image": 6, "layout.queries.foresight": 8}
    sizes |= {"encoders.goal.module.tower.model": tiny_clip(16)}
    return state, [f"{key}={value}" for key, value in sizes.items()]


@cache
def tiny_clip(width: int) -> str:
    """Make open_clip know a text tower of one narrow block, and return its name."""
    ensure_torchvision()
    import open_clip

    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 8, "patch_size": 16, "head_width": 8}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"tiny-{width}.json"
        path.write_text(json.dumps({"embed_dim": width, "vision_cfg": vision, "text_cfg": text}))
        open_clip.add_model_config(path)
    return path.stem
