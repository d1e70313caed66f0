"""What a recipe names as an encoder's source is neither fetched nor loaded unless it can be that encoder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from seerkit import Policy, build_policy
from seerkit.camera import TimmEncoder, Vit
from seerkit.hub import CheckpointError, HubError
from seerkit.hub.frozen import BESIDE, frozen_modules
from seerkit.hub.header import HEADER_LIMIT
from seerkit.hub.sources import Source, read_source
from tests.hub.loopback import Loopback
from tests.hub.policies import SOURCE, VIT, frozen_policy, holds, published, published_file

HUGE, FILE = "hub:eve/big/huge.safetensors", "huge.safetensors"


def too_large() -> bytes:
    """The very encoder, and a decoder beside it that is larger than any would be."""
    vit = sum(tensor.numel() * tensor.element_size() for tensor in published().values())
    return save({**published(), "decoder_x": torch.zeros(BESIDE * vit + HEADER_LIMIT, dtype=torch.uint8)})


def left_out(hub: Loopback, folder: Path) -> None:
    """A policy of the Hub whose encoder is said to come from `HUGE`."""
    hub.put("eve/big", {FILE: published_file()})
    (folder / "small.yaml").write_text(frozen_policy(f"{SOURCE}={HUGE}").recipe.yaml())
    policy = build_policy(str(folder / "small.yaml"), fetch=True, endpoint=hub.address)
    saved = policy.save_pretrained(folder / "policy")
    hub.put("eve/policy", {file.name: file.read_bytes() for file in saved.iterdir()})
    hub.log.clear()


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seerkit.convert.read.read_weights", lambda path: pytest.fail(f"{path} was loaded"))


def empty_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "empty"))


def test_an_encoder_of_any_size_is_not_fetched(
    hub: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    left_out(hub, tmp_path)
    empty_cache(tmp_path, monkeypatch)
    hub.put("eve/big", {FILE: too_large()})
    request.getfixturevalue("unread")
    with pytest.raises(CheckpointError, match=f"leaves out {VIT}.*{FILE} has .* bytes, more than the .* not fetched"):
        Policy.from_pretrained("eve/policy", endpoint=hub.address)
    assert FILE not in hub.fetched()


def test_nor_is_it_taken_from_the_cache(hub: Loopback) -> None:
    hub.put("eve/big", {FILE: too_large()})
    source = read_source(HUGE)
    assert source.find(download=True, limit=1 << 40, endpoint=hub.address) is not None
    with pytest.raises(HubError, match="more than the 1,000 it may have"):
        source.find(download=False, limit=1_000)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("spoil", ["shape", "missing", "unexpected"])
def test_what_does_not_fit_is_not_loaded(spoil: str, tmp_path: Path) -> None:
    weights = published()
    if spoil == "unexpected":
        weights["blocks.7.evil"] = torch.zeros(3)
    else:
        del weights["cls_token"]
    if spoil == "shape":
        weights["cls_token"] = torch.zeros(1, 1, 33)
    save_file(weights, tmp_path / "mae.safetensors")
    (tmp_path / "small.yaml").write_text(frozen_policy().recipe.yaml())
    with pytest.raises(CheckpointError, match=rf"does not fit {VIT}:\n +{spoil} "):
        build_policy(str(tmp_path / "small.yaml"), f"{SOURCE}={tmp_path / 'mae.safetensors'}")


@pytest.mark.parametrize("error", [NotImplementedError("no meta kernel"), KeyError("pos_embed")])
def test_an_adaptation_that_needs_numbers_gets_them(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails on the numbers, too, says whose file it was."""

    def adapt(_: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if isinstance(error, KeyError) or next(iter(tensors.values())).is_meta:
            raise error
        return tensors

    monkeypatch.setattr(Vit, "at_this_size", adapt, raising=False)
    save_file(published(), tmp_path / "mae.safetensors")
    (tmp_path / "small.yaml").write_text(frozen_policy().recipe.yaml())
    words = str(tmp_path / "small.yaml"), f"{SOURCE}={tmp_path / 'mae.safetensors'}"
    if isinstance(error, KeyError):
        with pytest.raises(CheckpointError, match=f"cannot be brought to the size of {VIT}: KeyError"):
            build_policy(*words)
    else:
        assert holds(build_policy(*words), published())


def test_positions_are_resampled_without_numbers_too() -> None:
    """Timm's own adaptation can be tried on a header."""
    given: dict[str, Any] = {"model": "vit_small_patch14_dinov2", "width": 384}
    with torch.device("meta"):
        here, published_at = TimmEncoder(**given, image_size=28), TimmEncoder(**given, image_size=56)
    adapted = here.at_this_size(published_at.state_dict())
    assert {name: t.shape for name, t in adapted.items()} == {name: t.shape for name, t in here.state_dict().items()}


def test_sources_of_the_hub_name_files_below_their_repository() -> None:
    found = frozen_modules(frozen_policy(f"{SOURCE}=hub:a/b/c/d_1.x.safetensors@refs/pr/1"))
    assert found[VIT].source == Source("hub:a/b/c/d_1.x.safetensors@refs/pr/1", "hub")
    assert re.fullmatch(r"c/d_1\.x\.safetensors", read_source("hub:a/b/c/d_1.x.safetensors@refs/pr/1").place()[1])
