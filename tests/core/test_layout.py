"""The layout's mask means what its edges say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seerkit import Attend, Edge, TokenLayout
from seerkit.trunk import TokenTrunk

STEPS = 5


def seer_like(**action: Edge) -> TokenLayout:
    edges = {"action": {"foresight": Edge(when=Attend.SAME_STEP), **action}, "foresight": {}}
    return TokenLayout(context={"state": 1, "image": 2}, queries={"foresight": 4, "action": 3}, edges=edges)


def pairs(layout: TokenLayout, query: str, key: str, steps: int = STEPS) -> Tensor:
    """Mask block of two groups as ``(steps, n, steps, m)``."""
    size, slots = layout.tokens_per_step, layout.slots()
    return layout.mask(steps).view(steps, size, steps, size)[:, slots[query], :, slots[key]]


def test_every_token_sees_the_context_of_its_past() -> None:
    layout = seer_like()
    past = torch.ones(STEPS, STEPS).tril().bool()
    for group in layout.sizes:
        for key in layout.context:
            assert torch.equal(pairs(layout, group, key)[:, 0, :, 0], past), (group, key)


def test_nobody_sees_a_query_without_an_edge() -> None:
    layout = seer_like()
    for group in layout.sizes:
        for key in layout.queries:
            allowed = pairs(layout, group, key)
            if (group, key) == ("action", "foresight"):
                assert torch.equal(allowed[:, 0, :, 0], torch.eye(STEPS).bool())
            else:
                assert not allowed.any(), (group, key)


def test_never_and_ahead() -> None:
    layout = seer_like(state=Edge(when=Attend.NEVER, ahead=2))
    seen = pairs(layout, "action", "state")[:, 0, :, 0]
    assert torch.equal(seen, torch.diag(torch.ones(STEPS - 2), 2).bool())


def test_token_causal_is_the_triangle() -> None:
    edges = {q: {k: Edge(when=Attend.TOKEN_CAUSAL) for k in ("a", "b")} for q in ("a", "b")}
    layout = TokenLayout(context={"a": 2, "b": 3}, edges=edges)
    assert torch.equal(layout.mask(3), torch.ones(15, 15).tril().bool())


def test_hidden_tokens_are_a_share_drawn_per_step() -> None:
    layout = seer_like(foresight=Edge(when=Attend.SAME_STEP, hide=0.5))
    first, second = (layout.hidden(STEPS, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)
    seen = layout.mask(STEPS) & ~first
    blocks = seen.view(STEPS, 10, STEPS, 10)[:, layout.slots()["action"], :, layout.slots()["foresight"]]
    for step in range(STEPS):
        assert (blocks[step, :, step].sum(dim=-1) == 2).all()
    assert not seer_like().hidden(STEPS).any()


def test_needed_tokens_are_enough_and_no_more() -> None:
    torch.manual_seed(0)
    layout = seer_like()
    trunk = TokenTrunk(layout=layout, dim=16, depth=2, heads=2, steps=STEPS, dropout=0.0).eval()
    for query in trunk.queries.values():
        torch.nn.init.normal_(query)
    context = [torch.randn(2, STEPS, n, 16) for n in layout.context.values()]
    full = trunk(*context)
    (alone,) = trunk(*context, outputs=["action"], at=[STEPS - 1])
    torch.testing.assert_close(alone[:, 0], full[1][:, -1], atol=1e-6, rtol=0)
    kept = layout.needed(STEPS, outputs=["action"], at=[STEPS - 1])
    assert len(kept) == STEPS * 3 + 4 + 3  # all context, this step's foresight and actions
    no_inverse_dynamics = seer_like(foresight=Edge(when=Attend.NEVER))
    assert len(no_inverse_dynamics.needed(STEPS, outputs=["action"], at=[0])) == 3 + 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": {"action": {"foresigth": Edge()}}}, "did you mean 'foresight'"),
        ({"edges": {"actoin": {}}}, "did you mean 'action'"),
        ({"context": {"action": 1}}, "both"),
        ({"context": {"state": 0}}, "at least 1"),
    ],
)
def test_a_wrong_layout_says_what_is_wrong(change: dict, message: str) -> None:
    fields = {"context": {"state": 1}, "queries": {"foresight": 1, "action": 1}, **change}
    with pytest.raises(ValueError, match=message):
        TokenLayout(**fields)


def test_edges_check_their_numbers() -> None:
    with pytest.raises(ValueError, match="ahead=0"):
        Edge(ahead=0)
    with pytest.raises(ValueError, match=r"hide=1\.5"):
        Edge(hide=1.5)


def test_trunk_names_what_it_expected() -> None:
    trunk = TokenTrunk(layout=seer_like(), dim=16, depth=1, heads=2, steps=3)
    with pytest.raises(ValueError, match=r"'image': 2.*'image': 5"):
        trunk(torch.zeros(1, 3, 1, 16), torch.zeros(1, 3, 5, 16))
    with pytest.raises(ValueError, match="at most 3 steps"):
        trunk(torch.zeros(1, 4, 1, 16), torch.zeros(1, 4, 2, 16))
