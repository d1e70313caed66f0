"""The README.md of a checkpoint: what people and the Hub read about a policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.hub.errors import CheckpointError

if TYPE_CHECKING:
    from huggingface_hub import EvalResult
    from torch import nn

    from seerkit.hub.frozen import Origin
    from seerkit.policy import Policy

LICENSE = "apache-2.0"
SCHEMA, TRAINED = "seerkit.eval.report", "trained"
DATASETS = {"droid": "DROID", "calvin": "CALVIN", "libero_10": "LIBERO", "libero_90": "LIBERO"}
PLACEHOLDER = "this/folder"


def write_card(
    policy: Policy,
    *,
    repo: str | None = None,
    left_out: Mapping[str, Origin] | None = None,
    report: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> str:
    """Return a model card: YAML front matter with evaluation results, then text for people.

    Args:
        policy: whose card.
        repo: ``user/repo``, for the lines that show how to use it.
        left_out: frozen modules whose weights come from elsewhere.
        report: the content of a ``report.json`` about these very weights.
        training: the content of the run's ``training.json``.
    """
    meta = policy.recipe.config["meta"]
    parts = [
        f"---\n{_front(policy, repo, report)}\n---\n",
        f"# {repo or meta['name']}\n",
        f"{meta['summary']}. Paper: {meta.get('paper') or 'none'}.\n",
        f"## How to use\n\n{_usage(repo)}",
        f"## Parts\n\n{_parts(policy, left_out or {})}",
        f"## Evaluation\n\n{_evaluation(report)}" if report else "",
        f"## Training data\n\n{_data(policy, training)}",
    ]
    return "\n".join(part for part in parts if part)


def read_report(path: Path) -> dict[str, Any]:
    """Read a ``report.json`` of `seerkit eval`.

    Raises:
        CheckpointError: if it is something else.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no report: {error}") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA or report.get("version") != 1:
        raise CheckpointError(f"{path} is no report of seerkit eval, version 1")
    return report


def results(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per task the trained policy was evaluated on: episodes, successes, rate with its interval.

    Example:
        >>> group = {"actor": "trained", "task": "Reach", "instruction": "red", "episodes": 5, "successes": 4}
        >>> round(results({"groups": [group, {**group, "instruction": "blue"}]})[0]["rate"].low, 2)
        0.49
    """
    from seerkit.eval.statistics import wilson

    rows: dict[str, dict[str, Any]] = {}
    for group in report.get("groups", []):
        if group["actor"] == TRAINED:
            row = rows.setdefault(group["task"], {"task": group["task"], "episodes": 0, "successes": 0})
            row["episodes"] += group["episodes"]
            row["successes"] += group["successes"]
    return [{**row, "rate": wilson(row["successes"], row["episodes"])} for row in rows.values()]


def _front(policy: Policy, repo: str | None, report: Mapping[str, Any] | None) -> str:
    from huggingface_hub import ModelCardData

    meta = policy.recipe.config["meta"]
    name = (repo or meta["name"]).rpartition("/")[2]
    known = (meta.get("benchmark"), (policy.recipe.config.get("data") or {}).get("dataset"))
    data = ModelCardData(
        library_name="seerkit",
        pipeline_tag="robotics",
        license=str(meta.get("license") or LICENSE),
        tags=[*dict.fromkeys(["robotics", "seerkit", meta["name"], *filter(None, known)])],
        model_name=name if report else None,
        eval_results=[_result(policy, row, report) for row in results(report)] if report else None,
    )
    return data.to_yaml()


def _result(policy: Policy, row: Mapping[str, Any], report: Mapping[str, Any]) -> EvalResult:
    from huggingface_hub import EvalResult

    rate, protocol = row["rate"], (report.get("provenance") or {}).get("protocol") or {}
    return EvalResult(
        task_type="robotics",
        task_name=row["task"],
        dataset_type=str(policy.recipe.config["meta"].get("benchmark") or "seerkit"),
        dataset_name=row["task"],
        dataset_config=row["task"],  # keeps tasks apart: results of one data set and configuration become one
        metric_type="success_rate",
        metric_name=f"success rate, 95 % interval {rate.low:.3f} to {rate.high:.3f}, {row['episodes']} episodes",
        metric_value=round(rate.value, 4),
        metric_args={
            "low": round(rate.low, 4),
            "high": round(rate.high, 4),
            "confidence": 0.95,
            "episodes": row["episodes"],
            "first_seed": protocol.get("first_seed"),
        },
    )


def _usage(repo: str | None) -> str:
    return f"""```python
from seerkit import Policy

policy = Policy.from_pretrained("{repo or PLACEHOLDER}")
agent = policy.agent(batch_size=1)  # agent.reset(), agent.act(observation)
```
"""


def _parts(policy: Policy, left_out: Mapping[str, Origin]) -> str:
    modules: dict[str, nn.Module] = {}
    for section in ("encoders", "targets", "heads"):
        modules |= {f"{section}.{name}": module for name, module in getattr(policy, section).items()}
    modules |= {"trunk": policy.trunk, "ensemble": policy.ensemble}
    lines = ["| part | class | trainable | frozen |", "|---|---|---:|---:|"]
    total = [0, 0]
    for name, module in modules.items():
        trainable, frozen = _count(module)
        total = [total[0] + trainable, total[1] + frozen]
        lines.append(f"| `{name}` | `{type(module).__name__}` | {trainable:,} | {frozen:,} |")
    lines += [f"| all | recipe `{policy.recipe.name}` `{policy.recipe.hash[:12]}` | {total[0]:,} | {total[1]:,} |", ""]
    lines += [
        f"`{name}` is not in the file; its weights come from `{origin.source}` (sha256 `{origin.sha256[:12]}`)."
        for name, origin in left_out.items()
    ]
    return "\n".join(lines) + "\n"


def _count(module: nn.Module) -> tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, trained in sizes if not trained)


def _evaluation(report: Mapping[str, Any]) -> str:
    protocol = (report.get("provenance") or {}).get("protocol") or {}
    lines = ["| task | successes | rate | 95 % interval |", "|---|---:|---:|---|"]
    for row in results(report):
        rate, counted = row["rate"], f"{row['successes']} of {row['episodes']}"
        lines.append(f"| {row['task']} | {counted} | {rate.value:.1%} | {rate.low:.1%} to {rate.high:.1%} |")
    seeds = f"Layouts {protocol.get('first_seed')} to {protocol.get('last_seed')}, which no demonstration shows."
    return "\n".join([*lines, *(["", seeds] if "first_seed" in protocol else [])]) + "\n"


def _data(policy: Policy, training: Mapping[str, Any] | None) -> str:
    section = policy.recipe.config.get("data") or {}
    named = str(section.get("dataset") or "not said by the recipe")
    lines = [f"- data set: {DATASETS.get(named, named)}"]
    lines += [f"- {key}: {value}" for key, value in section.items() if key != "dataset" and value is not None]
    if training:
        lines.append(f"- store: {Path(str(training.get('store', ''))).name}, {training.get('windows', 0):,} windows")
        lines.append(f"- updates: {training.get('update', 0):,}")
        lines += [f"- {key}: {value}" for key, value in (training.get("conventions") or {}).items()]
    return "\n".join(lines) + "\n"
