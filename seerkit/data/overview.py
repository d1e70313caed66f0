"""What a data set holds, in words and numbers."""

from __future__ import annotations

import collections
import itertools
from pathlib import Path

from seerkit.data.conventions import UNKNOWN
from seerkit.data.source import Source
from seerkit.data.store import Store

LISTED = 12
"""How many sentences are listed at most."""
COUNTED = 20_000
"""How many files are asked for their size at most."""


def overview(source: Source) -> str:
    """Describe a source in a few lines: episodes, steps, cameras, conventions, sentences, size on disk."""
    means = source.conventions
    lengths = sorted(episode.length for episode in source.episodes)
    lines = [repr(source)]
    hours = len(source) / means.frame_rate / 3600
    lines.append(f"lengths      {lengths[0]} to {lengths[-1]} steps, median {lengths[len(lengths) // 2]}")
    lines.append(f"time         {hours:.2f} h at {means.frame_rate:g} steps per second")
    failed = sum(not episode.success for episode in source.episodes)
    lines.append(f"success      {len(lengths) - failed} of {len(lengths)}")
    lines.append(f"state        {', '.join(means.state) or 'none'}")
    scale = "1 = {:g} m, {:g} rad".format(*means.action_scale) if means.action_scale else f"scale {UNKNOWN}"
    lines.append(f"action       {', '.join(means.action) or 'none'}" + (f"; {scale}" if means.action else ""))
    lines.append(f"gripper      {means.gripper if means.action else 'none'}")
    lines.append(f"depth        {'yes' if means.depth else 'no'}")
    kept = f", frames as {source.kind}" if isinstance(source, Store) else ""
    lines.append(f"disk         {_size(source.path)}{kept}")
    spans = source.episodes if source.segments is None else source.segments
    counts = collections.Counter(span.instruction for span in spans)
    lines.append(f"sentences    {len(counts)}")
    lines += [f"  {count:6d} x {text or '(none)'}" for text, count in counts.most_common(LISTED)]
    if len(counts) > LISTED:
        lines.append(f"  and {len(counts) - LISTED} more")
    return "\n".join(lines)


def _size(path: Path) -> str:
    """Add up the files, unless there are so many that asking for their sizes takes minutes."""
    found = [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
    sizes = [file.stat().st_size for file in itertools.islice(found, COUNTED)]
    return f"{'more than ' * (len(sizes) == COUNTED)}{sum(sizes) / 2**20:,.1f} MiB"
