"""Our agent acts as the official evaluation wrappers do, on every recorded episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from seerkit import Policy
from seerkit.goal import ClipTokenizer
from tests.parity import golden

CASES = golden.cases("seer")
pytestmark = pytest.mark.skipif(not CASES, reason=golden.MISSING)


# -- evaluation episodes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden.of_kind("episode"))
def test_episode(case: Path) -> None:
    episode = load_file(case / "episode.safetensors")
    ensembles = [name for name in EXPECTED if name in episode]
    assert ensembles, f"{case.name} records none of {[*EXPECTED]}"
    for name in ensembles:
        ensemble = EXPECTED[name](case)
        policy = golden.build(case, episode["text_table"], f"ensemble={ensemble}")
        ours = play(policy, golden.config(case)["lang"], episode)
        theirs = episode[name].double()
        if theirs.dtype != episode[name].dtype and episode[name].dtype == torch.float16:
            ours = ours.half()  # the official CALVIN wrapper rounds what it hands to the simulator
        torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0, msg=lambda text, n=name: f"{n}: {text}")


EXPECTED = {
    "action": lambda case: "temporal" if "ensembling_temp" in golden.config(case) else "first",
    "action_no_ensembling": lambda _: "first",
    "action_ensembling_with_timestep": lambda _: "temporal",
    # as shipped, the time step is never advanced, so that ensembling leaves the first action
    "action_deploy_as_shipped": lambda _: "first",
}


def play(policy: Policy, instruction: str, episode: dict[str, Tensor]) -> Tensor:
    primary, wrist = views(episode)
    state, agent = states(episode), policy.agent(batch_size=1)
    assert torch.equal(ClipTokenizer()(instruction), episode["text_token"].long())
    actions = [
        agent.act({"image": {"primary": p, "wrist": w}, "state": s, "language_instruction": instruction})
        for p, w, s in zip(primary, wrist, state, strict=True)
    ]
    return torch.from_numpy(np.stack(actions))


def views(episode: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    for pair in (("rgb_static", "rgb_gripper"), ("agentview_image", "robot0_eye_in_hand_image"), ("color0", "color1")):
        if pair[0] in episode:
            return tuple(episode[name].permute(0, 3, 1, 2) for name in pair)
    raise LookupError(f"no known camera pair among {sorted(episode)}")


def states(episode: dict[str, Tensor]) -> Tensor:
    if "robot_obs" in episode:
        return torch.cat([episode["robot_obs"][:, :6], episode["robot_obs"][:, -1:]], dim=-1).float()
    if "pose6d" in episode:
        return torch.cat([episode["pose6d"], episode["gripper_open_state"][:, None]], dim=-1).float()
    from seerkit.envs.pose import Pose

    euler = [Pose.from_quat_xyzw(quat.numpy()).to_euler_xyz() for quat in episode["robot0_eef_quat"]]
    parts = [episode["robot0_eef_pos"], torch.from_numpy(np.stack(euler)), episode["robot0_gripper_qpos"]]
    return torch.cat(parts, dim=-1).float()
