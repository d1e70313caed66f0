"""What `seerkit train` does and says when a run begins from another policy's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from seerkit.policy import Policy

RECORD = "init_from.json"


def begin(policy: Policy, out: Path, console: Console) -> None:
    """Fill the policy as its recipe's ``init_from`` says, show that and write it down, unless the run has begun."""
    from seerkit.data.files import write_text
    from seerkit.init_from import prepare

    if (out / "checkpoints" / "last").exists():
        return
    carried = prepare(policy)
    if carried is None:
        return
    table = Table(title=f"begins from {carried.checkpoint}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("what", "tensors", "why"):
        table.add_column(column, overflow="fold")
    for row in carried.rows():
        table.add_row(*row)
    console.print(table, highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / RECORD, json.dumps(carried.as_dict(), indent=1) + "\n")
