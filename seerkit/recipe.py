"""YAML to a resolved recipe. The only importer of Hydra; imports no torch, so that showing a recipe is quick."""

from __future__ import annotations

import difflib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RECIPES = "seerkit.recipes"
ORDER = ("meta", "cameras", "image_size", "patch", "feature", "dim", "steps", "chunk", "goal_ahead", "layout", "pixels")
ORDER += ("encoders", "targets", "trunk", "heads", "losses", "ensemble", "data", "init_from", "train", "eval")
_LOCK = threading.Lock()


class RecipeError(ValueError):
    """A recipe, an override or a component that does not exist or does not fit; the message says what would."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A fully resolved recipe: plain numbers, names and import paths, no references left.

    Args:
        config: the resolved tree.
        overrides: what was changed against the file it came from.
    """

    config: Mapping[str, Any]
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the recipe the overrides were applied to."""
        return self.config["meta"]["name"]

    @property
    def hash(self) -> str:
        """Return sha256 over the resolved tree, without what only describes it (``meta``)."""
        body = {key: value for key, value in self.config.items() if key != "meta"}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    @property
    def ahead(self) -> int:
        """How many steps ahead a frame is foreseen; 0 without foresight."""
        return foresight_ahead(self.config)

    @property
    def foresees(self) -> str:
        """What foresight predicts: ``"pixels"``, ``"depth"``, ``"features"``, or ``""`` without foresight."""
        return foresight_target(self.config)

    def changed(self, section: str) -> bool:
        """Say whether an override changed a section, or something in it."""
        keys = [override.lstrip("+~").partition("=")[0] for override in self.overrides]
        return any(key == section or key.startswith(f"{section}.") for key in keys)

    def yaml(self) -> str:
        """Return the resolved tree as YAML; `load_recipe` reads it back."""
        from omegaconf import OmegaConf

        return OmegaConf.to_yaml(OmegaConf.create(dict(self.config)))

    def flat(self) -> dict[str, Any]:
        """Return every leaf under its dotted name; lists stay whole."""
        return dict(_leaves(self.config))


def list_recipes() -> list[str]:
    """Return the names of all recipes of the package, rows of ablation tables as ``ablation/<group>/<row>``.

    Example:
        >>> "seer_calvin" in list_recipes()
        True
    """
    root = recipes_root()
    files = [*root.glob("*.yaml"), *root.glob("ablation/*/*.yaml")]
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in files)


def load_recipe(name: str, *overrides: str) -> Recipe:
    """Compose a recipe from the package, or read one from a YAML file, and resolve it.

    Args:
        name: a name of `list_recipes` or a path to a ``.yaml`` file: a resolved recipe (as `Recipe.yaml` writes), or
            one with its own ``defaults`` that build on the package's.
        overrides: ``group=option`` or ``some.key=value``, as on Hydra's command line.

    Raises:
        RecipeError: for an unknown recipe, group, option or key; names the nearest that exists.

    Example:
        >>> load_recipe("seer_calvin", "foresight=none").config["layout"]["queries"]
        {'action': 3}
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise RecipeError(f"no recipe file {str(path)!r}")
        return _load_file(path, overrides)
    known = list_recipes()
    if name not in known:
        raise RecipeError(f"no recipe {name!r}{_nearest(name, known)}; `seerkit recipe` lists them")
    return _compose(recipes_root(), name, overrides)


def resolve(config: object, overrides: tuple[str, ...] = ()) -> Recipe:
    """Resolve references, expand ``*`` to one key per camera, drop edges to groups the recipe does without."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        tree = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise RecipeError(f"the recipe does not resolve: {error}") from error
    tree = json.loads(json.dumps(tree))  # plain types, whatever YAML made of them
    for section in ("meta", "layout", "trunk", "encoders", "heads", "losses"):
        if not tree.get(section):
            raise RecipeError(f"a recipe needs a section {section!r}; this one has {sorted(tree)}")
    tree["layout"] = _sizes(tree["layout"], tree["cameras"])
    _drop_absent(tree["layout"])
    for group in ("encoders", "targets", "heads", "losses"):
        for name, part in tree.get(group, {}).items():
            if not isinstance(part, dict) or "module" not in part:
                raise RecipeError(
                    f"{group}.{name} has no module, only {part}: a recipe or an override changes a component that the "
                    "chosen options do without"
                )
            for bound in (part, part.get("learn") or {}):
                for side in ("reads", "writes"):
                    if side in bound:
                        bound[side] = list(_per_camera(bound[side], tree["cameras"]))
    tree = _without_other_cameras(tree, known=set(tree["pixels"]), cameras=tree["cameras"])
    first = [key for key in ORDER if key in tree]
    return Recipe({key: tree[key] for key in [*first, *(tree.keys() - set(first))]}, tuple(overrides))


def build(config: object, **given: object) -> Any:  # noqa: ANN401 - whatever the import path names
    """Instantiate a component by its ``_target_``; ``given`` are ready-made arguments beside those of the file.

    Raises:
        RecipeError: if the target cannot be imported or does not take those arguments; names the target.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not isinstance(config, Mapping) or "_target_" not in config:
        raise RecipeError(f"a component names its class under _target_, got {config!r:.120}")
    try:
        if given:  # ready-made objects go past Hydra, which would turn a dataclass into a config
            return instantiate(config, _partial_=True)(**given)
        return instantiate(config, _convert_="all")
    except (InstantiationException, TypeError) as error:
        raise RecipeError(f"{config['_target_']} cannot be built: {' '.join(str(error).split())}") from error


def foresight_ahead(config: Mapping[str, Any]) -> int:
    """Return how many steps ahead a recipe foresees a frame: what its foresight head says, 0 without one."""
    return (config.get("heads") or {}).get("foresight", {}).get("ahead") or 0


def foresight_target(config: Mapping[str, Any]) -> str:
    """Return what a recipe's foresight is compared with, the second word of the target its loss reads; "" for none."""
    reads = (config.get("losses") or {}).get("foresight", {}).get("reads", ())
    compared = [key[1] for key in reads if isinstance(key, list) and key[0] == "target" and len(key) > 1]
    return compared[0] if compared else ""


def _load_file(path: Path, overrides: tuple[str, ...]) -> Recipe:
    from omegaconf import OmegaConf

    tree = OmegaConf.load(path)
    if "defaults" in tree:
        return _compose(path.parent.resolve(), path.stem, (*overrides, f"hydra.searchpath=[pkg://{RECIPES}]"))
    for override in overrides:
        key, _, value = override.partition("=")
        if OmegaConf.select(tree, key) is None and key not in dict(_leaves(OmegaConf.to_container(tree))):
            known = [*dict(_leaves(OmegaConf.to_container(tree)))]
            raise RecipeError(f"no key {key!r} in {path}{_nearest(key, known)} (groups need the recipe's own name)")
        OmegaConf.update(tree, key, OmegaConf.from_dotlist([f"value={value}"])["value"])  # 3e-4 is a number there
    return resolve(tree, overrides)


def _compose(root: Path, name: str, overrides: tuple[str, ...]) -> Recipe:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    try:
        with _own_hydra(), initialize_config_dir(str(root), version_base=None):
            config = compose(name, overrides=list(overrides))
    except HydraException as error:
        raise RecipeError(_explain(name, overrides, error)) from error
    return resolve(config, tuple(o for o in overrides if not o.startswith("hydra.")))


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Compose although the caller may be a Hydra application itself, and leave its state as it was."""
    from hydra.core.global_hydra import GlobalHydra

    with _LOCK:
        caller = GlobalHydra.instance()
        saved, caller.hydra = caller.hydra, None
        try:
            yield
        finally:
            GlobalHydra.instance().hydra = saved


def _explain(name: str, overrides: tuple[str, ...], error: Exception) -> str:
    root = recipes_root()
    groups = {path.parent.name: path.parent for path in root.glob("*/__init__.py") if path.parent.name != "ablation"}
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key in groups:
            options = sorted(path.stem for path in groups[key].glob("*.yaml"))
            if value not in options:
                return f"slot {key!r} has no option {value!r}{_nearest(value, options)}; options: {options}"
            continue
        known = [*dict(_nodes(_compose(root, name, ()).config)), *groups] if name in list_recipes() else [*groups]
        if "=" not in override:
            return f"an override reads key=value, got {override!r}"
        if key not in known and not override.startswith("+"):
            return f"recipe {name!r} has no key {key!r}{_nearest(key, known)}"
    return f"recipe {name!r} with {list(overrides)} does not compose: {error}"


def _drop_absent(layout: dict[str, Any]) -> None:
    absent = layout.pop("absent", {})
    edges = layout.pop("edges", {})
    kept = {query: {key: edge for key, edge in row.items() if key not in absent} for query, row in edges.items()}
    kept = {query: row for query, row in kept.items() if row and query not in absent}
    if kept:
        layout["edges"] = kept
    if "untimed" in layout:
        layout["untimed"] = {name: value for name, value in layout["untimed"].items() if name not in absent}
    if "interleave" in layout:
        layout["interleave"]["groups"] = [name for name in layout["interleave"]["groups"] if name not in absent]


def _sizes(tree: Any, cameras: list[str]) -> Any:  # noqa: ANN401 - a branch of the layout section
    """Replace ``{per_camera: n}`` by n times the number of cameras, and one number per camera by the sum of theirs."""
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {"per_camera"}:
        given = tree["per_camera"]
        sizes: list[Any] = [given.get(name) for name in cameras] if isinstance(given, dict) else [given] * len(cameras)
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise RecipeError(f"per_camera is a whole number from 1 on, or one per camera; given {given!r:.80}")
        return sum(sizes)
    return {key: _sizes(value, cameras) for key, value in tree.items()}


def _without_other_cameras(tree: Any, *, known: set[str], cameras: list[str]) -> Any:  # noqa: ANN401 - any branch
    """Keep the recipe's cameras, in their order, of every mapping that has one entry per camera."""
    if not isinstance(tree, dict):
        return tree
    names = cameras if tree.keys() == known else tree.keys()
    return {name: _without_other_cameras(tree[name], known=known, cameras=cameras) for name in names}


def _per_camera(keys: list[Any], cameras: list[str]) -> Iterator[Any]:
    for key in keys:
        if isinstance(key, list) and "*" in key:
            yield from ([camera if part == "*" else part for part in key] for camera in cameras)
        else:
            yield key


def _leaves(tree: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def _nodes(tree: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            path = f"{prefix}.{key}" if prefix else str(key)
            yield path, value
            yield from _nodes(value, path)


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


@cache
def recipes_root() -> Path:
    """Return the folder the package's recipes lie in."""
    from importlib.util import find_spec

    spec = find_spec(RECIPES)
    if spec is None or spec.origin is None:
        raise RecipeError(f"the package {RECIPES} is not installed")
    return Path(spec.origin).resolve().parent
