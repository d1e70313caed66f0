"""Who may import whom, and that importing does nothing else."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.sources import imports, modules

MODULES = modules()
PARTS = ("goal", "state", "camera", "resample", "trunk", "head", "loss", "ensemble", "history")
# helpers of a few lines that import no other seerkit module
SMALL = {"_compat", "bins", "cache", "fingerprint", "freeze", "initialise", "patches"}
BASE = {"keys", "layout", *SMALL}

# Every unit (a folder or a file directly under seerkit) and the units it may import beside itself.
MAY_IMPORT: dict[str, set[str]] = {
    **{unit: set() for unit in BASE},
    **dict.fromkeys(PARTS, SMALL),
    "trunk": {*SMALL, "layout"},
    "assemble": {"keys"},
    "recipes": set(),
    "recipe": {*BASE, "assemble", "recipes"},
    "inputs": {"keys"},
    "trajectory": {"keys"},
    "wiring": {*BASE, "assemble", "recipe", "camera"},
    "policy": {
        *BASE,
        "assemble",
        "recipe",
        "inputs",
        "trajectory",
        "wiring",
        "camera",
        "loss",
        "ensemble",
        "history",
        "hub",
        "agent",
    },
    "asked": {"keys"},
    "agent": {*BASE, "asked", "policy", "history"},
    "hub": {*BASE, "policy", "recipe", "convert", "data", "eval"},
    "sample": {"keys", "recipe"},
    "describe": {"cache", "recipe", "policy", "sample"},
    "show": {"recipe", "describe"},
    "check": {"recipe", "policy", "sample"},
    "draw": {"recipe", "wiring"},
    "data": {"keys"},
    "assets": {"cache", "data"},
    "train": {*BASE, "policy", "recipe", "data", "loss"},
    "eval": {*BASE, "policy", "recipe", "agent", "envs"},
    "viz": {*BASE, "asked", "policy", "resample", "trunk", "camera", "data", "train", "eval"},
    "serve": {"keys", "agent"},
    "init_from": {"policy", "recipe"},
    "convert": {*BASE, "policy", "recipe", "describe", "data", "head"},
    "envs": {"keys", "assets"},
    "worker": set(),
    "collect": {"data", "envs", "worker"},
    "play": {"data", "envs", "worker"},
    "ablate": {"recipe", "policy", "init_from", "data", "train", "eval", "collect", "envs"},
}
GLUE = {"", "__main__", "cli", "demo"}  # joins the units for the command line and may import any of them

# Third-party packages that only the named units may import.
ONLY_IN = {
    "hydra": {"recipe", "ablate", "envs"},  # envs: where the original CALVIN simulator is made
    "omegaconf": {"recipe", "envs"},  # likewise
    "huggingface_hub": {"hub"},
    "timm": set(PARTS),
    "open_clip": {*PARTS, "hub"},  # the hub asks it where its weights are
    "torchvision": set(PARTS),
    "gymnasium": {"envs", "eval", "collect", "demo"},
    "mujoco": {"envs"},
    "franky_sim": {"envs"},
    "franky": {"envs"},
    "pyrealsense2": {"envs"},
    "serial": {"envs"},
    "pybullet": {"envs"},
    "libero": {"envs"},
    "robosuite": {"envs"},
    "lerobot": set(),
    "typer": {
        "cli",
        "cli_ablate",
        "cli_assets",
        "cli_convert",
        "cli_data",
        "cli_eval",
        "cli_features",
        "cli_hub",
        "cli_play",
        "cli_viz",
    },
    "h5py": {"data"},
    "pyarrow": {"data"},
    "av": {"data", "eval"},
    "einops": set(),
}
HEAVY = {
    "h5py",
    "pyarrow",
    "timm",
    "open_clip",
    "torchvision",
    "huggingface_hub",
}  # imported inside the function or class that needs them
LIGHT = {  # import torch, if at all, inside functions
    "",
    "_compat",
    "assets",
    "cache",
    "recipe",
    "recipes",
    "cli",
    "cli_ablate",
    "cli_assets",
    "cli_compare",
    "cli_convert",
    "cli_data",
    "cli_features",
    "cli_eval",
    "cli_hub",
    "cli_init",
    "cli_options",
    "cli_play",
    "cli_viz",
    "show",
    "worker",
    "describe",
}


def unit_of(name: str) -> str:
    return [*name.split("."), ""][1]


def at_run_time(tree: ast.Module) -> ast.Module:
    """Leave out what only a type checker reads."""
    kept = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))]
    return ast.Module(body=kept, type_ignores=[])


def at_import(tree: ast.Module) -> ast.Module:
    """Return the statements that run when the module is imported: no bodies of functions and classes."""
    later = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return ast.Module(body=[node for node in at_run_time(tree).body if not isinstance(node, later)], type_ignores=[])


def parse(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
def test_layers(name: str) -> None:
    unit = unit_of(name)
    if unit in GLUE or unit.startswith("cli"):
        return
    assert unit in MAY_IMPORT, f"{name}: say in MAY_IMPORT what the new unit {unit!r} may import"
    used = {unit_of(target) for target in imports(at_run_time(parse(name))) if target.startswith("seerkit.")}
    excess = sorted(used - MAY_IMPORT[unit] - {unit, ""})
    assert not excess, f"{name} imports {excess}; {unit} may import {sorted(MAY_IMPORT[unit])}"


@pytest.mark.parametrize("name", MODULES)
def test_third_party_packages_stay_in_their_place(name: str) -> None:
    unit = unit_of(name)
    packages = {target.split(".")[0] for target in imports(parse(name))}
    misplaced = {
        package: sorted(ONLY_IN[package]) for package in packages & ONLY_IN.keys() if unit not in ONLY_IN[package]
    }
    assert not misplaced, f"{name} imports packages that belong elsewhere: {misplaced}"
    early = {target.split(".")[0] for target in imports(at_import(parse(name)))}
    late = HEAVY | ({"torch", "tensordict", "torchrl"} if unit in LIGHT else set())
    assert not early & late, (
        f"{name} imports {sorted(early & late)} at its top; import inside the function that needs it"
    )


@pytest.mark.parametrize("name", MODULES)
def test_no_call_for_its_effect_at_import(name: str) -> None:
    calls = [
        node for node in at_import(parse(name)).body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert not calls, f"{MODULES[name]}:{calls[0].lineno}: {ast.unparse(calls[0])} runs when the module is imported"


SIDE_EFFECTS = """
import importlib, importlib.util, json, logging, os, sys
import gymnasium, numpy, tensordict.nn, torch
if importlib.util.find_spec("mujoco"):
    import mujoco  # sets PYOPENGL_PLATFORM itself
from hydra.core.global_hydra import GlobalHydra
def look():
    return {
        "environment variables": sorted(os.environ.items()), "folder": os.getcwd(), "search path": list(sys.path),
        "gymnasium ids": sorted(gymnasium.registry), "dtype": str(torch.get_default_dtype()),
        "threads": torch.get_num_threads(), "gradients": torch.is_grad_enabled(),
        "torch generator": torch.random.get_rng_state().tolist(), "numpy generator": str(numpy.random.get_state()),
        "log handlers": len(logging.getLogger().handlers), "hydra": GlobalHydra.instance().is_initialized(),
    }
missing, before = {}, look()
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing[name] = error.name
after = look()
print(json.dumps({"changed": [key for key in before if before[key] != after[key]], "missing": missing}))
"""
OPTIONAL = {
    "mujoco",
    "franky_sim",
    "scipy",
    "libero",
    "pybullet",
    "franky",
    "serial",
    "pyrealsense2",
    "websockets",
    "msgpack",
}


def test_importing_changes_nothing() -> None:
    names = [name for name in MODULES if not name.endswith("__main__")]
    said = json.loads(run("-c", SIDE_EFFECTS, json.dumps(names)).splitlines()[-1])
    assert said["changed"] == []
    assert set(said["missing"].values()) <= OPTIONAL, said["missing"]


def run(*arguments: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


LOADED = "; import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded(code: str) -> set[str]:
    return set(json.loads(run("-c", code + LOADED).splitlines()[-1]))


def test_import_seerkit_is_light() -> None:
    assert not loaded("import seerkit") & {"torch", "tensordict", "torchrl", "hydra", "gymnasium", "numpy", "mujoco"}


SHOW = """
import sys
from seerkit.cli import main
sys.argv = {arguments!r}
try:
    main()
except SystemExit as end:
    if end.code:
        raise
pass"""


@pytest.mark.parametrize(
    "arguments", [[], ["seer_calvin"], ["seer_calvin", "--yaml"], ["seer_calvin", "--diff=seer_tabletop"]], ids=" ".join
)
def test_showing_recipes_does_not_import_torch(arguments: list[str]) -> None:
    modules_loaded = loaded(SHOW.format(arguments=["seerkit", "recipe", *arguments]))
    assert not modules_loaded & {"torch", "tensordict", "torchrl", "gymnasium", "mujoco"}


def test_public_names() -> None:
    import seerkit

    assert set(seerkit.__all__) <= set(dir(seerkit))
    for name in seerkit.__all__:
        assert getattr(seerkit, name).__module__.startswith("seerkit."), name
    with pytest.raises(AttributeError, match="build_polcy"):
        _ = seerkit.build_polcy
