"""Policy: the parts of a recipe, tied together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from seerkit import keys
from seerkit.assemble import assemble, bind
from seerkit.camera import PixelsAndFuture
from seerkit.inputs import check_inputs, check_targets
from seerkit.layout import Attend, Edge, TokenLayout
from seerkit.loss import WeightedLosses
from seerkit.patches import patch_statistics, patchify, unpatchify
from seerkit.recipe import Recipe, RecipeError, build, load_recipe

if TYPE_CHECKING:
    from seerkit.agent import Agent


class Policy(nn.Module):
    """Parts assembled by a recipe: trains, rolls out, foresees, and is saved with everything it needs.

    Args:
        recipe: what to build; see `build_policy` for the usual way.

    Example:
        >>> policy = build_policy("seer_tabletop")
        >>> sorted(policy.heads)
        ['action', 'foresight']
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        config = recipe.config
        self.recipe = recipe
        self.layout = make_layout(config["layout"])
        self.cameras = tuple(config["cameras"])
        self.steps: int = config["steps"]
        self.ahead: int = config.get("ahead") or 0
        self.goal_ahead: int = config.get("goal_ahead") or 0
        self.pixels = nn.ModuleDict({name: build(part) for name, part in config["pixels"].items()})
        self.encoders = nn.ModuleDict({name: build(part["module"]) for name, part in config["encoders"].items()})
        _check_read(self.layout, config["heads"])
        self.trunk = build(config["trunk"], layout=self.layout)
        self.heads = nn.ModuleDict({name: build(part["module"]) for name, part in config["heads"].items()})
        terms = {name: _bound(build(part["module"]), part, [f"loss_{name}"]) for name, part in config["losses"].items()}
        self.losses = WeightedLosses(
            terms=terms, weights={name: part["weight"] for name, part in config["losses"].items()}
        )
        self.ensemble = build(config["ensemble"])
        # bound views of the modules above: kept out of nn.Module's registry, so that every weight has one name
        self._stages = self._bind()
        self._graphs = {mode: self._graph(mode) for mode in self._stages}

    # -- graphs -------------------------------------------------------------------------------------------------

    @property
    def stages(self) -> Mapping[str, TensorDictModuleBase]:
        """The bound stages of one forward pass, in order."""
        return self._stages["infer"]

    @property
    def training_stages(self) -> Mapping[str, TensorDictModuleBase]:
        """The bound stages of one training pass: frames and their futures together, only supervised steps read."""
        return self._stages["train"]

    @property
    def graph(self) -> TensorDictSequential:
        """The forward pass as one tensordict graph; ``select_subsequence`` cuts parts out of it."""
        return self._graphs["infer"]

    @property
    def inputs(self) -> list[keys.NestedKey]:
        """What a forward pass reads."""
        read = {key for stage in self.stages.values() for key in stage.in_keys}
        images: list[keys.NestedKey] = [keys.under(keys.IMAGE, name) for name in self.cameras]
        return images + [key for key in (keys.STATE, *self._goals()) if key in read]

    def forward(self, td: TensorDictBase) -> TensorDictBase:
        """Predict chunks and foresight for every step of the window; writes into a copy of ``td``."""
        check_inputs(self, td)
        return self.graph(td.copy())

    def loss(self, td: TensorDictBase) -> TensorDict:
        """Return the weighted terms ``loss_<name>`` of a batch of windows; their sum is what training minimises.

        Raises:
            KeyError: if the batch lacks a key.
            ValueError: if a shape or a type is not what the recipe says.
        """
        check_inputs(self, td)
        check_targets(self, td)
        return self.supervise(self._graphs["train"](td.copy()))

    def supervise(self, out: TensorDictBase) -> TensorDict:
        """Evaluate the weighted terms on predictions and targets that are already there."""
        steps = self.supervised_steps(out[keys.TARGET_CHUNK].shape[1])
        for key in (keys.TARGET_CHUNK, keys.ACTION_IS_PAD, keys.FUTURE_IS_PAD, *self._target_pixels()):
            if key in out.keys(include_nested=True):
                out[key] = out[key][:, :steps]
        return self.losses(out)

    def supervised_steps(self, steps: int) -> int:
        """Return how many steps of a window enter the losses: those whose goal state lies inside it."""
        return steps - self.goal_ahead

    @torch.no_grad()
    def foresee(self, td: TensorDictBase) -> dict[str, Tensor]:
        """Predict what every camera will see ``ahead`` steps after each step of the window.

        Where the recipe predicts patches brought to mean 0 and deviation 1, the present patches lend their mean and
        deviation, as nobody knows those of the future.

        Shape:
            returns: per camera uint8 ``(B, T, 3, S, S)``.

        Raises:
            ValueError: if the recipe has no foresight.
        """
        if "foresight" not in self.heads:
            raise ValueError(f"recipe {self.recipe.name!r} has no foresight head; its heads: {sorted(self.heads)}")
        was_training = self.training
        try:
            out = self.eval()(td)
        finally:
            self.train(was_training)
        patches = {name: out[keys.under(keys.FORESIGHT, name)] for name in self.cameras}
        return {name: self.picture(name, patches[name], out[keys.under(keys.PIXELS, name)]) for name in self.cameras}

    def picture(self, camera: str, patches: Tensor, pixels: Tensor) -> Tensor:
        """Turn predicted patches ``(..., P, N)`` into levels ``(..., 3, S, S)``, given the present pixels."""
        patch = self.recipe.config["patch"]
        if self.recipe.config["losses"]["foresight"]["module"].get("normalise", True):
            mean, deviation = patch_statistics(patchify(pixels, patch))
            patches = patches * deviation + mean
        return self.pixels[camera].levels(unpatchify(patches, patch=patch))  # pyright: ignore

    def agent(self, *, batch_size: int = 1) -> Agent:
        """Return an agent that carries history and ensembling for ``batch_size`` robots or environments."""
        from seerkit.agent import Agent

        return Agent(self, batch_size=batch_size)

    # -- pieces of a rollout (see `seerkit.agent`) --------------------------------------------------------------

    def encode(self, td: TensorDictBase, *, goal: bool = True) -> TensorDictBase:
        """Run pixels and encoders on a copy of ``td``; without ``goal``, only what reads pixels or states."""
        out = td.copy()
        for name, stage in self.stages.items():
            if name in ("trunk", *self.heads) or (not goal and name in self.goal_stages):
                continue
            out = stage(out)
        return out

    @property
    def goal_stages(self) -> list[str]:
        """Names of the stages that depend on the goal alone: instruction, picture or state to be reached."""
        known: set[Any] = {*self._goals()}
        names = []
        for name, stage in self.stages.items():
            if set(stage.in_keys) <= known:
                known.update(stage.out_keys)
                names.append(name)
        return names

    def read(self, tokens: Mapping[str, Tensor], *, heads: Collection[str], at: Collection[int]) -> TensorDict:
        """Run the trunk and only the named heads, at the steps ``at``, computing nothing they cannot see."""
        config = self.recipe.config["heads"]
        groups = [group for group in self.layout.queries if any(["hidden", group] in config[h]["reads"] for h in heads)]
        hidden = self.trunk(*(tokens[name] for name in self.layout.context), outputs=groups, at=at)
        td = TensorDict({("hidden", g): h for g, h in zip(groups, hidden, strict=True)}, batch_size=hidden[0].shape[:1])
        for name in heads:
            td = self.stages[name](td)
        return td

    # -- saving -------------------------------------------------------------------------------------------------

    def save_pretrained(self, path: str | Path) -> Path:
        """Write ``recipe.yaml``, ``model.safetensors`` and ``README.md`` into the folder ``path``, all or nothing."""
        from seerkit.hub import save

        return save(self, Path(path))

    @classmethod
    def from_pretrained(cls, path: str | Path, *overrides: str) -> Policy:
        """Build a policy from a folder that `save_pretrained` wrote; loading is strict.

        Args:
            path: the folder.
            overrides: ``some.key=value`` changes to its recipe, such as ``train.lr=1e-4``; the weights must still fit.
        """
        from seerkit.hub import load

        return load(Path(path), *overrides)

    # -- wiring -------------------------------------------------------------------------------------------------

    def _bind(self) -> dict[str, dict[str, TensorDictModuleBase]]:
        config = self.recipe.config
        encoders = {name: _bound(self.encoders[name], p, p["writes"]) for name, p in config["encoders"].items()}
        heads = {name: _bound(self.heads[name], part, part["writes"]) for name, part in config["heads"].items()}
        stages = {}
        for mode in ("infer", "train"):
            pixels = {f"pixels_{name}": self._bind_pixels(name, mode) for name in self.cameras}
            readout = _Readout(self.trunk, skip=self.goal_ahead if mode == "train" else 0)
            trunk = bind(
                readout,
                reads=[keys.under(keys.TOKENS, name) for name in self.layout.context],
                writes=[keys.under(keys.HIDDEN, name) for name in self.layout.queries],
            )
            stages[mode] = {**pixels, **encoders, "trunk": trunk, **heads}
        return stages

    def _bind_pixels(self, name: str, mode: str) -> TensorDictModuleBase:
        module, image, pixels = self.pixels[name], keys.under(keys.IMAGE, name), keys.under(keys.PIXELS, name)
        if mode == "infer" or not self.ahead:
            return bind(module, reads=[image], writes=[pixels])
        pair = PixelsAndFuture(pixels=module)  # pyright: ignore[reportArgumentType]
        future, target = keys.under(keys.FUTURE, name), keys.under(keys.TARGET_PIXELS, name)
        return bind(pair, reads=[image, future], writes=[pixels, target])

    def _graph(self, mode: str) -> TensorDictSequential:
        inputs: list[keys.NestedKey] = [keys.STATE, *self._goals()]
        for name in self.cameras:
            inputs += [keys.under(keys.IMAGE, name), keys.under(keys.FUTURE, name)]
        return assemble(self._stages[mode], inputs=inputs)

    def _goals(self) -> list[keys.NestedKey]:
        return [keys.INSTRUCTION, keys.GOAL_STATE, *(keys.under(keys.GOAL_IMAGE, name) for name in self.cameras)]

    def _target_pixels(self) -> list[keys.NestedKey]:
        return [keys.under(keys.TARGET_PIXELS, name) for name in self.cameras]


class _Readout(nn.Module):
    """Call the trunk for every step but the last ``skip``, whose goal lies outside the window."""

    def __init__(self, trunk: nn.Module, *, skip: int) -> None:
        super().__init__()
        self.trunk, self.skip = trunk, skip

    def forward(self, *context: Tensor) -> tuple[Tensor, ...]:
        steps = max(group.shape[1] for group in context)
        if steps <= self.skip:
            raise ValueError(f"expected a window of more than {self.skip} steps (goal_ahead), got {steps}")
        return self.trunk(*context, at=range(steps - self.skip))


def build_policy(name: str, *overrides: str) -> Policy:
    """Build a policy from a recipe, or load one from a checkpoint.

    Args:
        name: a recipe (`list_recipes`), a recipe file, or the folder of a checkpoint.
        overrides: ``group=option`` or ``some.key=value``; a checkpoint takes only the latter, and its weights must
            still fit.

    Raises:
        RecipeError: if there is no such recipe, component or key; names the nearest.

    Example:
        >>> policy = build_policy("seer_tabletop", "foresight=none")
        >>> [*policy.layout.queries]
        ['action']
    """
    if Path(name).is_dir():
        return Policy.from_pretrained(name, *overrides)
    return Policy(load_recipe(name, *overrides))


def _check_read(layout: TokenLayout, heads: Mapping[str, Any]) -> None:
    read = {key[1] for part in heads.values() for key in part["reads"] if key[0] == "hidden"}
    unread = [name for name in layout.queries if name not in read]
    if unread:
        raise RecipeError(f"layout.queries declares {unread}, which no head reads; heads: {sorted(heads)}")


def make_layout(config: Mapping[str, Any]) -> TokenLayout:
    """Turn a recipe's ``layout`` section into a `TokenLayout`."""
    edges = {
        query: {key: Edge(**{**edge, "when": Attend(edge.get("when", "causal"))}) for key, edge in row.items()}
        for query, row in config.get("edges", {}).items()
    }
    return TokenLayout(
        context=config["context"],
        queries=config.get("queries", {}),
        default=Attend(config.get("default", "causal")),
        edges=edges,
    )


def _bound(module: nn.Module, part: Mapping[str, Any], writes: Collection[Any]) -> Any:  # noqa: ANN401
    return bind(module, reads=part["reads"], writes=writes)
