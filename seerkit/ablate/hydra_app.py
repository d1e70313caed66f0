"""A Hydra application whose only task is one job: the way into Hydra's launchers.

A launcher cannot be called by itself: it unpickles Hydra's own state in every job and composes the job's configuration
there. So the ablation starts this application in a process of its own and lets it sweep over job numbers; the jobs
themselves are files, read where they run. What a launcher offers is an override: ``hydra.launcher.partition=gpu``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG = "seerkit_ablate"


def task(config: Any) -> bool:  # noqa: ANN401 - Hydra's configuration
    """Do one job; its outcome is written beside it, so that nothing depends on what a launcher returns."""
    from seerkit.ablate.job import run_file

    specs = json.loads(Path(config.order).read_text(encoding="utf-8"))
    return run_file(Path(specs[int(config.job)]))


def main() -> None:
    """Hand the command line to Hydra."""
    import hydra
    from hydra.core.config_store import ConfigStore

    from seerkit.ablate import hydra_app

    ConfigStore.instance().store(name=CONFIG, node={"order": "???", "job": "???"})
    # the module's own function, not the one of __main__: jobs on other machines import it by name
    hydra.main(version_base="1.3", config_path=None, config_name=CONFIG)(hydra_app.task)()


if __name__ == "__main__":
    main()
