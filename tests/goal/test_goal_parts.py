"""Goal encoders: what their tokens are made of, and that rows do not mix."""

from __future__ import annotations

import pytest
import torch

from seerkit.camera import ConvVit, OneFrame, Pixels, Vit
from seerkit.goal import FutureState, GoalImage
from seerkit.resample import GridPool
from seerkit.state import PoseGripper


def image_goal() -> GoalImage:
    torch.manual_seed(0)
    return GoalImage(vit=ConvVit(image_size=32, width=16), width=16, dim=8, resample=GridPool(side=2)).eval()


def test_the_tokens_are_the_summary_and_the_latents_each_projected() -> None:
    goal, pixels = image_goal(), torch.randn(3, 3, 32, 32)
    tokens = goal(pixels)
    features = goal.vit(pixels)
    assert goal.image is not None
    expected = torch.stack([goal.summary(features[:, 0]), *goal.image(GridPool(side=2)(features[:, 1:])).unbind(1)], 1)
    torch.testing.assert_close(tokens, expected[:, None])
    assert tokens.shape == (3, 1, 5, 8)


def test_a_row_depends_on_its_own_picture_alone() -> None:
    goal, pixels = image_goal(), torch.randn(3, 3, 32, 32)
    before = goal(pixels)
    pixels[1] = torch.randn(3, 32, 32)
    after = goal(pixels)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert (before[1] != after[1]).any(dim=-1).all(), "every token of the changed row"


def test_a_frozen_encoder_stays_frozen_and_the_rest_learns() -> None:
    vit = Vit(image_size=32, patch=8, width=16, depth=1, heads=2, frozen=True)
    goal = GoalImage(vit=vit, width=16, dim=8).train()
    start = [parameter.clone() for parameter in vit.parameters()]
    goal(torch.randn(2, 3, 32, 32)).sum().backward()
    assert not any(module.training for module in vit.modules())
    assert all(torch.equal(now, then) for now, then in zip(vit.parameters(), start, strict=True))
    assert {name for name, p in goal.named_parameters() if p.grad is not None} == {"summary.weight", "summary.bias"}


def test_one_frame_is_prepared_as_a_window_of_one() -> None:
    pixels = Pixels(size=16, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    frames = torch.randint(0, 256, (4, 3, 20, 24), dtype=torch.uint8)
    assert torch.equal(OneFrame(pixels=pixels)(frames), pixels(frames[:, None])[:, 0])


def test_a_future_state_reads_as_a_present_one() -> None:
    encoder = PoseGripper(dim=8)
    states = torch.randn(5, 7)
    assert torch.equal(FutureState(encoder=encoder)(states)[:, 0], encoder(states[None])[0])


@pytest.mark.parametrize(
    ("part", "given"),
    [
        (image_goal(), torch.zeros(2, 1, 3, 32, 32)),
        (OneFrame(pixels=torch.nn.Identity()), torch.zeros(2, 1, 3, 32, 32)),
        (FutureState(encoder=PoseGripper(dim=8)), torch.zeros(2, 1, 7)),
    ],
)
def test_a_time_axis_is_refused(part: torch.nn.Module, given: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"per row .*got shape \(2, 1, "):
        part(given)
