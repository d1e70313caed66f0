"""Numbers that papers and repositories report, to be shown beside one's own and never mixed with them.

Every number names its source (GR-1's were read on a page that reproduces the paper's table). They were measured by
others, with their checkpoints, simulators, renderers and protocols; a difference from one's own number may come from
any of these.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ABC, ABCD, LONG = "CALVIN ABC->D", "CALVIN ABCD->D", "LIBERO-LONG"
LENGTH, RATE = "average length", "success rate"
METRICS = {ABC: LENGTH, ABCD: LENGTH, LONG: RATE}
"""What each benchmark reports: tasks completed in a row out of five, or per cent of episodes."""

SEER, GR1 = "Tian et al., 2024 (arXiv 2412.15109, review version)", "Wu et al., 2023 (arXiv 2312.13139)"


@dataclass(frozen=True)
class Published:
    """One policy's result as its source prints it.

    Args:
        benchmark: where it was measured.
        policy: the name the source gives it.
        value: `METRICS` says of what: tasks in a row out of five, or per cent.
        source: paper and table, or repository.
        in_a_row: per cent of sequences with at least 1, 2, ... 5 tasks completed; empty if not printed.
    """

    benchmark: str
    policy: str
    value: float
    source: str
    in_a_row: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        return {**asdict(self), "metric": METRICS[self.benchmark]}


NUMBERS = (
    Published(ABC, "Seer", 3.98, f"{SEER}, Table 2", (94.4, 87.2, 79.9, 72.2, 64.3)),
    Published(ABC, "Seer, not pre-trained", 3.64, f"{SEER}, Table 2", (93.0, 82.4, 72.3, 62.6, 53.3)),
    Published(ABC, "Seer-Large", 4.28, "Tian et al., 2024 (arXiv 2412.15109), abstract"),
    Published(ABC, "Seer-Large, released checkpoint", 4.30, "README of OpenRobotLab/Seer"),
    Published(ABC, "GR-1", 3.06, f"{GR1}, main table", (85.4, 71.2, 59.6, 49.7, 40.1)),
    Published(ABC, "RoboFlamingo", 2.47, f"{SEER}, Table 2", (82.4, 61.9, 46.6, 33.1, 23.5)),
    Published(ABC, "SuSIE", 2.69, f"{SEER}, Table 2", (87.0, 69.0, 49.0, 38.0, 26.0)),
    Published(ABC, "3D Diffuser Actor", 3.27, f"{SEER}, Table 2", (92.2, 78.7, 63.9, 51.2, 41.2)),
    Published(ABC, "best of RT-1 and MT-R3M", 0.93, f"{GR1}, main table", (53.3, 23.4, 10.5, 4.3, 1.8)),
    Published(ABC, "VPP", 4.33, "README of its repository"),
    Published(ABC, "MoDE, pre-trained", 4.01, "README of its repository"),
    Published(ABC, "FLOWER, not pre-trained", 4.44, "README of its repository"),
    Published(ABC, "VLA-Adapter", 4.42, "README of its repository"),
    Published(ABC, "OpenVLA-OFT", 4.10, "README of VLA-Adapter"),
    Published(ABCD, "GR-1", 4.21, f"{GR1}, main table", (94.9, 89.6, 84.4, 78.9, 73.1)),
    Published(ABCD, "HULC", 3.06, f"{GR1}, main table", (88.9, 73.3, 58.7, 47.5, 38.3)),
    Published(ABCD, "RoboFlamingo", 4.09, "README of its repository"),
    Published(ABCD, "MDT-V", 4.60, "README of its repository"),
    Published(LONG, "Seer", 87.7, f"{SEER}, Table 1"),
    Published(LONG, "Seer, not pre-trained", 78.7, f"{SEER}, Table 1"),
    Published(LONG, "MPI", 77.3, f"{SEER}, Table 1"),
    Published(LONG, "MVP", 68.2, f"{SEER}, Table 1"),
    Published(LONG, "OpenVLA", 54.0, f"{SEER}, Table 1"),
    Published(LONG, "MTACT", 41.0, f"{SEER}, Table 1"),
    Published(LONG, "FLOWER", 94.5, "README of its repository"),
    Published(LONG, "VLA-Adapter", 95.0, "README of its repository"),
    Published(LONG, "pi0.5", 92.4, "README of openpi"),
)


def published(benchmark: str | None) -> list[Published]:
    """Return what others report on a benchmark, best first; nothing for an evaluation on no public benchmark."""
    return sorted((one for one in NUMBERS if one.benchmark == benchmark), key=lambda one: -one.value)


def benchmark_of(environments: Sequence[str], *, split: str | None) -> str | None:
    """Name the public benchmark that is played, None if it is none, or several.

    Args:
        environments: ids or names, such as ``calvin_d`` or ``seerkit/Calvin-D-v0``.
        split: the recipe's ``data.split``: what was trained on decides which of CALVIN's benchmarks it is.

    Example:
        >>> benchmark_of(["calvin_d"], split="ABC_D")
        'CALVIN ABC->D'
        >>> benchmark_of(["seerkit/Tabletop-Reach-v0"], split=None) is None
        True
    """
    found = {_one(name, split) for name in environments}
    return found.pop() if len(found) == 1 else None


def _one(name: str, split: str | None) -> str | None:
    words = re.sub(r"[^a-z0-9]+", "_", name.lower())
    if re.search(r"(^|_)calvin_d(_|$)", words):
        return {"ABC_D": ABC, "ABCD_D": ABCD}.get(split or "")
    return LONG if re.search(r"(^|_)libero_(10|long)(_|$)", words) else None
