"""Ready-made encoders load into their modules and compute the same from every file they come in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seerkit._compat import ensure_torchvision
from seerkit.camera import Vit
from seerkit.convert.encoders import CLIP_LEFT_OUT, MAE_LEFT_OUT, clip_text, left_out, mae_encoder, r3m_resnet
from seerkit.convert.read import WeightsError, read_weights
from seerkit.convert.weights import convert_encoder
from seerkit.goal import ClipTextTower
from tests.convert import official


def clip(width: int = 16) -> nn.Module:
    """A tiny CLIP, image tower and all."""
    ensure_torchvision()
    import open_clip

    return open_clip.create_model(official.tiny_clip(width))


class Archive(nn.Module):
    """CLIP's tensors under their names, as a module that TorchScript saves."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            owner: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, nn.Module())
                owner = getattr(owner, part)
            owner.register_buffer(last, tensor)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("kind", ["archive", "plain", "prefixed", "data parallel"])
def test_clip_from_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    model = clip().eval()
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    path = tmp_path / "clip.pt"
    if kind == "archive":  # OpenAI's: half precision, a few sizes stored as tensors
        half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        torch.jit.save(torch.jit.trace(Archive({**half, "context_length": torch.tensor(77)}), torch.zeros(1)), path)
    elif kind == "prefixed":
        text = {f"text.{n}": t for n, t in state.items() if not n.startswith(("visual.", "logit"))}
        torch.save({**text, "visual.proj": state["visual.proj"]}, path)
    else:
        torch.save({"module." * (kind == "data parallel") + name: tensor for name, tensor in state.items()}, path)
    done = convert_encoder(path, tmp_path / "tower.safetensors", kind="clip")
    assert "visual" in done.lines["left out"] or kind == "data parallel"  # there the first word is module
    tower = ClipTextTower(model=official.tiny_clip(16))
    tower.tower.load_state_dict(load_file(tmp_path / "tower.safetensors"))
    tokens = torch.tensor([[49406, 320, 1929, 49407, *[0] * 73]])
    with torch.no_grad():
        expected = model.encode_text(tokens)  # pyright: ignore
    torch.testing.assert_close(tower(tokens), expected, rtol=0, atol=2e-2 if kind == "archive" else 1e-6)


def test_mae_fills_the_vit_and_leaves_its_decoder(tmp_path: Path) -> None:
    vit = Vit(image_size=32, patch=8, width=16, depth=2, heads=2)
    state = {name: torch.randn_like(tensor) for name, tensor in vit.vit.state_dict().items()}
    decoder = {"mask_token": torch.zeros(1), "decoder_pos_embed": torch.zeros(2), "decoder_blocks.0.x": torch.zeros(3)}
    torch.save({"model": {**state, **decoder}}, tmp_path / "mae.pth")
    assert left_out(read_weights(tmp_path / "mae.pth"), MAE_LEFT_OUT) == sorted(decoder)
    done = convert_encoder(tmp_path / "mae.pth", tmp_path / "mae.safetensors", kind="mae")
    assert done.lines["left out"].startswith("3: ")
    official.same(load_file(tmp_path / "mae.safetensors"), state)
    vit.vit.load_state_dict(load_file(tmp_path / "mae.safetensors"))


@pytest.mark.skipif(not official.ROOT.is_dir(), reason=official.MISSING)
def test_official_names_are_the_modules_names() -> None:
    with torch.device("meta"):
        vit, tower = Vit(), ClipTextTower()
    mae, text = official.frozen("mae_encoder_decoder"), official.frozen("clip", without="visual.")
    assert shapes(mae_encoder(mae)) == shapes(vit.vit.state_dict())
    assert shapes(clip_text({**text, "visual.proj": torch.zeros(1)})) == shapes(tower.tower.state_dict())
    assert left_out(text, CLIP_LEFT_OUT) == ["logit_scale"]


def test_r3m_is_a_plain_resnet_without_classifier() -> None:
    ensure_torchvision()
    from torchvision.models import resnet50

    with torch.device("meta"):
        resnet = resnet50().state_dict()
    given = {f"module.convnet.{name}": tensor for name, tensor in resnet.items()}
    given["module.lang_enc.model.x"] = torch.zeros(1)
    assert shapes(r3m_resnet(given)) == shapes({n: t for n, t in resnet.items() if not n.startswith("fc.")})
    del given["module.convnet.layer3.5.bn2.running_var"]
    with pytest.raises(WeightsError, match=r"missing +layer3.5.bn2.running_var"):
        r3m_resnet(given)


def test_faults_are_named() -> None:
    state = {name: t for name, t in Vit(image_size=32, width=16, depth=2, heads=2).vit.state_dict().items()}
    without = {name: t for name, t in state.items() if name != "blocks.0.norm2.bias"}
    with pytest.raises(WeightsError, match=r"missing +blocks.0.norm2.bias"):
        mae_encoder(without)
    with pytest.raises(WeightsError, match=r"unexpected +blocks.1.ls1.gamma \(1,\)"):
        mae_encoder({**state, "blocks.1.ls1.gamma": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"not CLIP's text tower:\n +missing +ln_final.bias"):
        clip_text(state)


def test_the_output_is_a_new_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(FileExistsError):
        convert_encoder(tmp_path / "mae.pth", tmp_path / "there.safetensors", kind="mae")
    with pytest.raises(WeightsError, match=r"expected a new .safetensors file"):
        convert_encoder(tmp_path / "mae.pth", tmp_path / "mae.pth", kind="mae")


def shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
