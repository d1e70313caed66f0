"""Put a policy on the Hub."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.fingerprint import weights_hash
from seerkit.hub.card import read_report, write_card
from seerkit.hub.checkpoint import CARD, RECIPE, WEIGHTS, read_header, save
from seerkit.hub.client import explain, hub, is_repo, patiently
from seerkit.hub.errors import CheckpointError, HubError
from seerkit.hub.frozen import SECTIONS, frozen_modules
from seerkit.hub.sources import IN_CHECKPOINT, read_source
from seerkit.recipe import Recipe

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from seerkit.policy import Policy

REPORT, TRAINING = "report.json", "training.json"


def push(
    policy: Policy,
    repo: str,
    *,
    tag: str | None = None,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
    include_frozen: bool = False,
    report: Path | str | None = None,
) -> str:
    """Upload recipe, weights and card in one commit, creating the repository if need be; return its address.

    What a training run keeps beside them (optimiser, state to resume) is not uploaded. The report of the policy's run
    or checkpoint is found by itself if the policy was loaded from there and the report is about these very weights.

    Raises:
        CheckpointError: if a frozen encoder came from a path, which nobody else can fetch, and ``include_frozen`` is
            not set; or if ``report`` is about other weights.
        HubError: if the Hub refuses or cannot be reached, or the tag exists already.
    """
    if not is_repo(repo):
        raise HubError(f"expected a repository of the form user/name, given {repo!r}")
    recipe = _portable(policy, include_frozen=include_frozen)
    found = _report(policy, Path(report) if report is not None else None)
    training = _training(policy)
    api = hub(endpoint, token)
    with tempfile.TemporaryDirectory() as folder:
        draft = save(policy, Path(folder) / "push", frozen=include_frozen or None, recipe=recipe)
        left = read_header(draft / WEIGHTS).left_out
        text = write_card(policy, repo=repo, left_out=left, report=found, training=training)
        (draft / CARD).write_text(text, encoding="utf-8")
        try:
            return _upload(api, draft, repo, tag=tag, private=private)
        except HubError:
            raise
        except Exception as error:
            raise HubError(explain(repo, error, api.endpoint)) from error


def _upload(api: HfApi, folder: Path, repo: str, *, tag: str | None, private: bool) -> str:
    url = patiently(lambda: api.create_repo(repo, private=private, exist_ok=True))
    if tag is not None:
        tags = [ref.name for ref in patiently(lambda: api.list_repo_refs(repo)).tags]
        if tag in tags:
            raise HubError(f"{repo} has a tag {tag!r} already ({', '.join(tags)}); nothing was uploaded")
    commit = patiently(
        lambda: api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=[RECIPE, WEIGHTS, CARD],
            commit_message="Policy, recipe and card",
        )
    )
    if tag is not None:
        patiently(lambda: api.create_tag(repo, tag=tag, revision=commit.oid))
    return str(url)


def _portable(policy: Policy, *, include_frozen: bool) -> Recipe:
    """Return the recipe without paths of this machine; frozen weights that came from one must travel along.

    What the policy began from (``init_from.checkpoint``) is left out, as its weights are in the file.
    """
    config = copy.deepcopy(dict(policy.recipe.config))
    for frozen in frozen_modules(policy).values():
        if frozen.source is None or frozen.source.kind != "path":
            continue
        if not include_frozen:
            raise CheckpointError(
                f"{frozen} came from a path, which nobody else can fetch; push with include_frozen=True "
                f"(--include-frozen), or declare where it can be had, such as {frozen.override}=hub:user/repo/file"
            )
    for section in SECTIONS:
        for part in (config.get(section) or {}).values():
            if "source" in part:  # of frozen encoders that travel along, and of trained ones
                part["source"] = _public(part["source"])
    if config.get("init_from"):  # a/b may be a folder of this machine as well as a repository
        config["init_from"]["checkpoint"] = None
    return Recipe(config, policy.recipe.overrides)


def _public(source: Any) -> Any:  # noqa: ANN401 - a text, one for each inner module, or none
    """Replace what names a file of this machine; the weights lie in the checkpoint."""
    if isinstance(source, Mapping):
        return {inner: _public(text) for inner, text in source.items()}
    return IN_CHECKPOINT if source is not None and read_source(source).kind == "path" else source


def _report(policy: Policy, given: Path | None) -> dict[str, Any] | None:
    """Return the report about the policy's weights: the given one, or the one its run has."""
    mine: list[str] = []

    def about_me(report: Mapping[str, Any]) -> bool:
        mine[:] = mine or [weights_hash(policy.state_dict())]
        return ((report.get("provenance") or {}).get("weights") or {}).get("sha256") == mine[0]

    if given is not None:
        path = given / REPORT if given.is_dir() else given
        report = read_report(path)
        if not about_me(report):
            raise CheckpointError(
                f"{path} is about other weights than this policy's; evaluate this one, or leave it out"
            )
        return report
    if policy.checkpoint is None:
        return None
    folder = policy.checkpoint.resolve()
    run = [parent / "report" for parent in list(folder.parents)[1:3]]  # beside checkpoints/ and, of a demo, one above
    for path in (place / REPORT for place in (folder, folder / "report", *run)):
        if path.is_file() and about_me(report := read_report(path)):
            return report
    return None


def _training(policy: Policy) -> dict[str, Any] | None:
    """Return what the run says about its data, if the policy still has the weights of the run's checkpoint."""
    from safetensors.torch import load_file

    if policy.checkpoint is None or not (policy.checkpoint / TRAINING).is_file():
        return None
    state = policy.state_dict()
    saved = load_file(policy.checkpoint / WEIGHTS)
    if any(name not in state or not state[name].cpu().equal(tensor) for name, tensor in saved.items()):
        return None
    return json.loads((policy.checkpoint / TRAINING).read_text(encoding="utf-8"))
