"""Pictures of a recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seerkit.recipe import Recipe
from seerkit.wiring import make_layout

COLOURS = ("#4c78a8", "#72b7b2", "#54a24b", "#b79a20", "#e45756", "#f58518", "#b279a2", "#9d755d")


def draw_mask(recipe: Recipe, path: Path, *, steps: int | None = None) -> Path:
    """Draw which token may attend to which: rows look at columns, coloured by the group looked at.

    Args:
        recipe: whose layout is drawn.
        path: the PNG to write; replaced only when the drawing is done.
        steps: how many steps; by default as many as show every edge (at most the recipe's).

    Returns:
        ``path``.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    layout = make_layout(recipe.config["layout"])
    ahead = max((edge.ahead or 0 for row in layout.edges.values() for edge in row.values()), default=0)
    shown: int = min(recipe.config["steps"], max(3, ahead + 2)) if steps is None else steps
    names, size = [*layout.sizes], layout.tokens_per_step
    group = np.zeros(size, dtype=int)
    for index, slot in enumerate(layout.slots().values()):
        group[slot] = index + 1
    image = layout.mask(shown).numpy() * np.tile(group, shown)[None]
    palette = ListedColormap(["white", *(COLOURS[i % len(COLOURS)] for i in range(len(names)))])

    figure, axes = pyplot.subplots(figsize=(9.5, 8), dpi=120)
    axes.imshow(image, cmap=palette, vmin=0, vmax=len(names), interpolation="nearest")
    for step in range(1, shown):
        axes.axhline(step * size - 0.5, color="#444", linewidth=0.8)
        axes.axvline(step * size - 0.5, color="#444", linewidth=0.8)
    middle = [step * size + (size - 1) / 2 for step in range(shown)]
    labels = [f"step {step}" for step in range(shown)]
    axes.set_xticks(middle, labels)
    axes.set_yticks(
        [step * size + (s.start + s.stop - 1) / 2 for step in range(shown) for s in layout.slots().values()],
        [f"{name} {step}" for step in range(shown) for name in names],
        fontsize=6,
    )
    axes.set_xlabel("is seen")
    axes.set_ylabel("looks")
    share = layout.mask(shown).float().mean().item()
    axes.set_title(
        f"{' '.join([recipe.name, *recipe.overrides])}: {size} tokens per step, {share:.0%} of pairs", fontsize=10
    )
    handles = [Patch(color=palette(i + 1), label=f"{n} ({layout.sizes[n]})") for i, n in enumerate(names)]
    axes.legend(handles=handles, bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False, fontsize=8)
    figure.tight_layout()
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png")
    pyplot.close(figure)
    partial.rename(path)
    return path
