"""Encoders by timm's names: order of patches, what is frozen stays, and the published architectures are met exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seerkit._compat import ensure_torchvision
from seerkit.camera import CameraTokens, TimmEncoder
from seerkit.resample import MeanPool


def moved_most(encoder: nn.Module, corner: tuple[slice, slice], size: int) -> int:
    """Return which patch moves most when a corner of the image changes."""
    torch.manual_seed(0)
    images = torch.randn(1, 3, size, size)
    other = images.clone()
    other[..., corner[0], corner[1]] += 3.0
    with torch.no_grad():
        change = (encoder(other) - encoder(images))[0, 1:].norm(dim=-1)
    return int(change.argmax())


@pytest.mark.parametrize(
    "model", ["test_vit", "test_vit2", "vit_tiny_patch16_224", "resnet10t", "swin_tiny_patch4_window7_224"]
)
def test_patches_come_row_by_row(model: str) -> None:
    width = {"resnet10t": 512, "swin_tiny_patch4_window7_224": 768, "vit_tiny_patch16_224": 192}.get(model, 64)
    size = 224 if "swin" in model else 128
    encoder = TimmEncoder(model=model, width=width, image_size=size)
    patches = encoder(torch.zeros(1, 3, size, size)).shape[1] - 1
    side, part = round(patches**0.5), size // 4
    assert side * side == patches
    start, end = slice(0, part), slice(size - part, size)
    near = {"top right": (start, end, 0, side - 1), "bottom left": (end, start, side - 1, 0)}
    for rows, columns, row, column in near.values():
        place = moved_most(encoder, (rows, columns), size)
        assert abs(place // side - row) <= side // 4
        assert abs(place % side - column) <= side // 4


def test_the_summary_is_cls_or_the_mean_and_registers_are_dropped() -> None:
    images = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        registers = TimmEncoder(model="vit_small_patch14_reg4_dinov2", width=384, image_size=56)
        plain = registers.model.forward_features(images)
        assert plain.shape[1] == 1 + 4 + 16
        assert torch.equal(registers(images), torch.cat([plain[:, :1], plain[:, 5:]], dim=1))
        for model, width in (("test_vit2", 64), ("test_resnet", 96)):
            out = TimmEncoder(model=model, width=width, image_size=64)(torch.randn(2, 3, 64, 64))
            torch.testing.assert_close(out[:, 0], out[:, 1:].mean(dim=1))


def test_a_frozen_encoder_is_untouched_by_training_even_its_statistics() -> None:
    frozen = TimmEncoder(model="test_resnet", width=96, image_size=64)
    tokens = CameraTokens(cameras=["primary"], vit=frozen, resample=MeanPool(), width=96, dim=8).train()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    optimiser = torch.optim.SGD(tokens.parameters(), lr=0.1)
    image, summary = tokens(torch.randn(2, 2, 3, 64, 64) + 5)
    (image.sum() + summary.sum()).backward()
    optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    trained = TimmEncoder(model="test_resnet", width=96, image_size=64, frozen=False).train()
    mean = trained.model.bn1.running_mean.clone()
    trained(torch.randn(2, 3, 64, 64) + 5).sum().backward()
    assert not torch.equal(trained.model.bn1.running_mean, mean)
    assert all(p.grad is not None for p in trained.parameters())


def test_resnet_50_is_torchvisions_name_by_name() -> None:
    """R3M's weights are those of torchvision's ResNet-50: same names, same last feature map."""
    ensure_torchvision()
    from torchvision.models import resnet50

    ours, theirs = TimmEncoder(model="resnet50", width=2048, image_size=64), resnet50(weights=None).eval()
    weights = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    ours.model.load_state_dict(weights)
    theirs.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[:, 0], theirs(images), rtol=1e-4, atol=1e-5)


def test_clip_is_open_clips_with_quick_gelu() -> None:
    ensure_torchvision()
    import open_clip

    theirs = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).visual.eval()
    theirs.proj, theirs.output_tokens = None, True
    ours = TimmEncoder(model="vit_base_patch32_clip_quickgelu_224.openai", width=768)
    plain = TimmEncoder(model="vit_base_patch32_clip_224.openai", width=768)
    weights = {f"visual.{name}": value for name, value in theirs.state_dict().items()}
    from timm.models.vision_transformer import checkpoint_filter_fn

    own = {name: value for name, value in checkpoint_filter_fn(weights, ours.model).items() if "head." not in name}
    for encoder in (ours, plain):
        encoder.model.load_state_dict(own)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        summary, patches = theirs(images)
        out = ours(images)
        torch.testing.assert_close(out[:, 0], summary, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(out[:, 1:], patches, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(plain(images)[:, 0], summary, atol=1e-3)


def test_positions_learned_at_another_size_are_resampled() -> None:
    big = TimmEncoder(model="vit_small_patch14_dinov2", width=384, image_size=518)
    small = TimmEncoder(model="vit_small_patch14_dinov2", width=384, image_size=224)
    ramp = torch.linspace(-1, 1, 37)[:, None].expand(37, 37).flatten()  # grows from the top row to the bottom row
    with torch.no_grad():
        big.model.pos_embed[0, 1:] = ramp[:, None]
    small.load_state_dict(small.at_this_size(big.state_dict()))
    rows = small.model.pos_embed[0, 1:, 0].unflatten(0, (16, 16))
    assert bool((rows.diff(dim=0) > 0).all())
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows), rtol=0, atol=1e-4)
    assert torch.equal(small.model.blocks[0].attn.qkv.weight, big.model.blocks[0].attn.qkv.weight)


def test_wrong_names_and_widths_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        TimmEncoder(model="resnet_50", width=2048)
    with pytest.raises(ValueError, match="features of size 768, but 'test_vit' gives 64"):
        TimmEncoder(model="test_vit", width=768, image_size=64)


def test_without_a_resampler_only_summaries_are_left() -> None:
    encoder = TimmEncoder(model="test_vit", width=64, image_size=32)
    pooled = CameraTokens(cameras=["a", "b"], vit=encoder, resample=MeanPool(), width=64, dim=8)
    bare = CameraTokens(cameras=["a", "b"], vit=encoder, resample=None, width=64, dim=8)
    bare.summary.load_state_dict(pooled.summary.state_dict())
    frames = [torch.randn(2, 3, 3, 32, 32) for _ in range(2)]
    image, summary = bare(*frames)
    assert image.shape == (2, 3, 0, 8)
    assert torch.equal(summary, pooled(*frames)[1])
    assert not [name for name, _ in bare.named_parameters() if name.startswith("image")]
