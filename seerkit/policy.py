"""Policy: the parts of a recipe, tied together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from seerkit import keys
from seerkit.assemble import assemble, bind
from seerkit.freeze import freeze
from seerkit.hub.sharing import Shareable
from seerkit.inputs import check_inputs, check_targets
from seerkit.loss import WeightedLosses
from seerkit.patches import patch_statistics, patchify, unpatchify
from seerkit.recipe import Recipe, RecipeError, build, load_recipe
from seerkit.trajectory import cut_windows, length
from seerkit.wiring import make_layout, outside, wire

if TYPE_CHECKING:
    from seerkit.agent import Agent


class Policy(Shareable, nn.Module):
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
        self.origins, self.checkpoint = {}, None  # see `Shareable`
        self.layout = make_layout(config["layout"])
        self.cameras = tuple(config["cameras"])
        self.steps: int = config["steps"]
        self.ahead: int = recipe.ahead
        self.goal_ahead: int = config.get("goal_ahead") or 0
        self.pixels = nn.ModuleDict({name: build(part) for name, part in config["pixels"].items()})
        self.encoders = nn.ModuleDict({name: build(part["module"]) for name, part in config["encoders"].items()})
        targets = config.get("targets") or {}
        self.targets = nn.ModuleDict({name: freeze(build(part["module"])) for name, part in targets.items()})
        self.trunk = build(config["trunk"], layout=self.layout)
        self.heads = nn.ModuleDict({name: build(part["module"]) for name, part in config["heads"].items()})
        terms = {
            name: bind(build(part["module"]), reads=part["reads"], writes=[f"loss_{name}"])
            for name, part in config["losses"].items()
        }
        self.losses = WeightedLosses(
            terms=terms, weights={name: part["weight"] for name, part in config["losses"].items()}
        )
        self.ensemble = build(config["ensemble"])
        # bound views of the modules above: kept out of nn.Module's registry, so that every weight has one name
        self._stages = wire(
            {name: getattr(self, name) for name in ("pixels", "encoders", "targets", "trunk", "heads")},
            config,
            layout=self.layout,
        )
        self._graphs = {
            mode: assemble(stages, inputs=keys.given(self.cameras)) for mode, stages in self._stages.items()
        }

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
        """What a forward pass reads; random numbers (`keys.NOISE`) are drawn if they are not given."""
        return [key for key in outside(self.stages) if key[0] != keys.NOISE[0]]

    @property
    def training_inputs(self) -> list[keys.NestedKey]:
        """What a training pass and its losses read beside `inputs`."""
        written: set[Any] = {key for stage in self.training_stages.values() for key in stage.out_keys}
        losses = [key for term in self.losses.terms.values() for key in term.in_keys]  # pyright: ignore
        wanted = dict.fromkeys([*outside(self.training_stages), *(key for key in losses if key not in written)])
        return [key for key in wanted if key not in self.inputs and key[0] != keys.NOISE[0]]

    def forward(self, td: TensorDictBase, *, generator: torch.Generator | None = None) -> TensorDictBase:
        """Predict chunks and foresight for every step of the window; writes into a copy of ``td``.

        Args:
            td: see `inputs`.
            generator: draws the noise a sampling head starts from; torch's default generator if not given.
        """
        check_inputs(self, td)
        out = _own(td)
        if self.samples and keys.under(keys.NOISE, "action") not in out.keys(include_nested=True):
            image = out[keys.under(keys.IMAGE, self.cameras[0])]
            noise = self.draw_noise(image.shape[0], image.shape[1], generator=generator)
            out[keys.under(keys.NOISE, "action")] = noise.to(image.device)
        return self.graph(out)

    @property
    def samples(self) -> bool:
        """Whether the action head starts from noise."""
        return keys.under(keys.NOISE, "action") in outside(self.stages)

    def draw_noise(self, rows: int, steps: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw what a sampling head starts from, standard normal, on the CPU.

        Args:
            rows: size of the batch.
            steps: steps of the window.
            generator: a generator of the CPU; torch's default if not given.

        Shape:
            returns: ``(rows, steps, K, A)``.
        """
        size = (steps, self.recipe.config["chunk"], self.recipe.config["heads"]["action"]["module"]["action_dim"])
        return torch.randn(rows, *size, generator=generator)

    def loss(self, td: TensorDictBase) -> TensorDict:
        """Return the weighted terms ``loss_<name>`` of a batch of windows; their sum is what training minimises.

        A row longer than the policy's history stands for all windows it contains: its frames are encoded once, and
        the terms are those of the windows one by one (if augmentation draws the same for a frame in all of them).

        Raises:
            KeyError: if the batch lacks a key.
            ValueError: if a shape or a type is not what the recipe says.
        """
        return self.losses(self.rehearse(td))

    def rehearse(self, td: TensorDictBase) -> TensorDictBase:
        """Run what training runs and return predictions beside their targets, at the supervised steps.

        Raises:
            KeyError: if the batch lacks a key.
            ValueError: if a shape or a type is not what the recipe says.
        """
        check_inputs(self, td, longer=True)
        check_targets(self, td)
        td = _own(td)
        for name, stage in self.training_stages.items():
            td = stage(self._supervised(td) if name == "trunk" else td)
        return td

    def counts(self, td: TensorDictBase) -> dict[str, Tensor]:
        """Count over how many elements each term of `loss` is a mean, so that means of parts give the mean of a whole.

        Those are the elements inside the episode in the padding the term reads, or the rows if it reads none.
        """
        td, counts = self._supervised(td), {}
        for name, term in self.losses.terms.items():
            reads: Any = term.in_keys
            is_pad = next((td[key] for key in reads if key in (keys.ACTION_IS_PAD, keys.FUTURE_IS_PAD)), None)
            counts[f"loss_{name}"] = torch.tensor(td.batch_size[0]) if is_pad is None else (~is_pad).sum()
        return counts

    def supervise(self, out: TensorDictBase) -> TensorDict:
        """Evaluate the weighted terms on predictions and targets that are already there."""
        return self.losses(self._supervised(out))

    def _supervised(self, td: TensorDictBase) -> TensorDictBase:
        """Cut what is compared to the steps that enter the losses, and count padded steps as padding."""
        td = _own(td) if length(td) <= self.steps else cut_windows(td, steps=self.steps)
        steps = self.supervised_steps(length(td))
        present: list[Any] = [*td.keys(include_nested=True, leaves_only=True)]
        for key in present:
            if key[0] == "target" or key in (keys.ACTION_IS_PAD, keys.FUTURE_IS_PAD):
                td[key] = td[key][:, :steps]
        if keys.STEP_IS_PAD in present:
            is_pad = td[keys.STEP_IS_PAD]
            is_pad = is_pad[:, :steps] | is_pad[:, self.goal_ahead : self.goal_ahead + steps]  # the goal must be there
            for key in {keys.ACTION_IS_PAD, keys.FUTURE_IS_PAD} & {*present}:
                td[key] = td[key] | is_pad.reshape(*is_pad.shape, *[1] * (td[key].dim() - 2))
        return td

    def supervised_steps(self, steps: int) -> int:
        """Return how many steps of a window enter the losses: those whose goal state lies inside it."""
        return steps - self.goal_ahead

    @property
    def pictures(self) -> bool:
        """Whether foresight can be looked at: its loss compares pixels (not features or depth)."""
        return self.recipe.foresees == "pixels"

    @torch.no_grad()
    def foresee(self, td: TensorDictBase) -> dict[str, Tensor]:
        """Predict what every camera will see ``ahead`` steps after each step of the window.

        Where the recipe predicts patches brought to mean 0 and deviation 1, the present patches lend their mean and
        deviation, as nobody knows those of the future.

        Shape:
            returns: per camera uint8 ``(B, T, 3, S, S)``.

        Raises:
            ValueError: if the recipe foresees no pixels, or no loss says what it foresees.
        """
        if not self.pictures:
            name, heads = self.recipe.name, sorted(self.heads)
            if seen := self.recipe.foresees:
                raise ValueError(f"recipe {name!r} foresees {seen}, which are no pictures; its heads: {heads}")
            if "foresight" not in heads:
                raise ValueError(f"recipe {name!r} has no foresight head; its heads: {heads}")
            losses = sorted(self.recipe.config["losses"])
            raise ValueError(f"no loss says what recipe {name!r}'s head 'foresight' foresees; its losses: {losses}")
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
        """Return an agent that carries history and ensembling for ``batch_size`` robots or environments.

        Raises:
            ValueError: if the recipe has no action head.
        """
        from seerkit.agent import Agent

        return Agent(self, batch_size=batch_size)

    # -- pieces of a rollout (see `seerkit.agent`) --------------------------------------------------------------

    def encode(self, td: TensorDictBase, *, goal: bool = True) -> TensorDictBase:
        """Run pixels and encoders on a copy of ``td``; without ``goal``, only what reads pixels or states."""
        out = _own(td)
        for name, stage in self.stages.items():
            if name in ("trunk", *self.heads) or (not goal and name in self.goal_stages):
                continue
            out = stage(out)
        return out

    @property
    def goal_stages(self) -> list[str]:
        """Names of the stages that depend on the goal alone: instruction, picture or state to be reached."""
        known: set[Any] = {*keys.goals(self.cameras)}
        names = []
        for name, stage in self.stages.items():
            if set(stage.in_keys) <= known:
                known.update(stage.out_keys)
                names.append(name)
        return names

    def read(
        self,
        tokens: Mapping[str, Tensor],
        *,
        heads: Collection[str],
        at: Collection[int],
        noise: Tensor | None = None,
    ) -> TensorDict:
        """Run the trunk and only the named heads, at the steps ``at``, computing nothing they cannot see.

        Args:
            tokens: encoded context by group, ``(B, T, n, D)``.
            heads: names of the heads.
            at: steps to read.
            noise: what a sampling action head starts from, ``(B, len(at), K, A)``.
        """
        config = self.recipe.config["heads"]
        groups = [group for group in self.layout.queries if any(["hidden", group] in config[h]["reads"] for h in heads)]
        hidden = self.trunk(*(tokens[name] for name in self.layout.context), outputs=groups, at=at)
        td = TensorDict({("hidden", g): h for g, h in zip(groups, hidden, strict=True)}, batch_size=hidden[0].shape[:1])
        if noise is not None:
            td[keys.under(keys.NOISE, "action")] = noise.to(hidden[0].device)
        for name in heads:
            td = self.stages[name](td)
        return td


def _own(td: TensorDictBase) -> TensorDictBase:
    """Return a shallow copy in which every stage's result stays where it was made: token ids remain on the CPU."""
    return td.copy().clear_device_()


def build_policy(
    name: str,
    *overrides: str,
    fetch: bool = False,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """Build a policy from a recipe, or load one from a checkpoint or the Hub.

    A recipe's frozen encoders get their weights from its ``source:`` as far as those are at hand; a warning says,
    once, which stay random.

    Args:
        name: a recipe (`list_recipes`), a recipe file, the folder of a checkpoint, or ``user/repo`` on the Hub.
        overrides: ``group=option`` or ``some.key=value``; a checkpoint takes only the latter, and must still fit.
        fetch: whether to download a recipe's frozen encoders, too; then none stays random.
        revision: see `Policy.from_pretrained`, as for the following.
        token: for the Hub.
        endpoint: of the Hub.
        trust_remote_code: whether to build what is not seerkit's.

    Raises:
        RecipeError: if there is no such recipe, component or key (names the nearest), or a recipe is given what only
            the Hub knows.

    Example:
        >>> policy = build_policy("seer_tabletop", "foresight=none")
        >>> [*policy.layout.queries]
        ['action']
    """
    from seerkit.hub import is_checkpoint, load_frozen

    if is_checkpoint(name):
        trusted = {"revision": revision, "trust_remote_code": trust_remote_code}
        return Policy.from_pretrained(name, *overrides, token=token, endpoint=endpoint, **trusted)
    if revision is not None or trust_remote_code:
        given = f"revision={revision!r}" if revision is not None else "trust_remote_code=True"
        raise RecipeError(f"{given} is of a repository on the Hub (user/repo); given the recipe {name!r}")
    policy = Policy(load_recipe(name, *overrides))
    load_frozen(policy, download=fetch, token=token, endpoint=endpoint)
    return policy
