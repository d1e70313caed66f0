"""A table of names reads the same in both directions."""

from __future__ import annotations

import pytest
import torch

from seerkit.convert import gr1, seer
from seerkit.convert.rules import Rule, Table, rearrange


@pytest.mark.parametrize("table", [seer.TABLE, gr1.TABLE], ids=["seer", "gr1"])
def test_every_rule_names_its_own_inverse(table: Table) -> None:
    for rule in table.rules:
        fields = {"layer": "7", "camera": "wrist", "rest": "weight"}
        given = tuple(source.format(**fields) for source in rule.sources)
        for name in given:
            assert table.our_name(name) == rule.ours.format(**fields)
        assert table.official_names(rule.ours.format(**fields)) == given


def test_names_nobody_knows() -> None:
    with pytest.raises(KeyError, match=r"Seer has no tensor 'obs_token'; did you mean 'obs_tokens'\?"):
        seer.seer_name("obs_token")
    with pytest.raises(KeyError, match=r"no place for our tensor 'trunk.heap'"):
        seer.TABLE.official_names("trunk.heap")
    assert seer.seer_name("recon_state_decoder.0.bias") is None
    assert gr1.gr1_name("transformer.h.3.attn.bias") is None
    assert gr1.gr1_name("transformer.h.3.attn.c_attn.bias") == "trunk.blocks.3.qkv.bias"


@pytest.mark.parametrize("axes", ["i o -> o i", "1 1 n d -> n d", "s d -> s 1 d", "1 s 1 d -> s 1 d"])
def test_rearranging_back_gives_the_same(axes: str) -> None:
    left, right = axes.split(" -> ")
    given = torch.randn([1 if axis == "1" else 3 + index for index, axis in enumerate(left.split())])
    there = rearrange(given, axes)
    assert there.dim() == len(right.split())
    assert torch.equal(rearrange(there, f"{right} -> {left}"), given)


def test_rearranging_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"expected axes \(1 n\), got shape \(2, 3\)"):
        rearrange(torch.zeros(2, 3), "1 n -> n")


def test_cameras_are_joined_and_parted() -> None:
    rule = Rule(("a", "b"), "both")
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    joined = rule.carry([a, b])
    assert torch.equal(joined, torch.cat([a, b]))
    assert all(torch.equal(*pair) for pair in zip(rule.give_back(joined, parts=2), (a, b), strict=True))
    with pytest.raises(ValueError, match="2 cameras alike"):
        rule.give_back(torch.zeros(3, 3), parts=2)
