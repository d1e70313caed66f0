"""The twin's depth is the geometry's, in metres along the optical axis, and pictures do not change for it."""

import numpy as np
import pytest

from seerkit.envs import make

pytestmark = pytest.mark.sim
TABLE_TOP, MILLIMETRE = 0.0, 1e-3


def plane_depth(world: object, camera: str, size: int) -> np.ndarray:
    """Say how deep the table's plane lies behind every pixel of a camera; nan where its ray misses the table."""
    model, data = world.model, world.data
    place, axes = data.camera(camera).xpos, data.camera(camera).xmat.reshape(3, 3)
    half = np.tan(np.radians(model.camera(camera).fovy[0]) / 2)
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    across, up = np.meshgrid(steps * half, -steps * half)
    rays = np.stack([across, up, -np.ones_like(up)], axis=-1) @ axes.T  # one metre deep each
    depth = (TABLE_TOP - place[2]) / rays[..., 2]
    hit = place + rays * depth[..., None]
    top = model.geom("table_top")
    inside = (np.abs(hit - top.pos)[..., :2] < top.size[:2] - 0.02).all(axis=-1)
    return np.where(inside & (depth > 0), depth, np.nan)


@pytest.mark.parametrize("camera", ["primary", "wrist"])
def test_depth_is_the_geometrys(camera: str) -> None:
    env = make("Reach", look={"depth": True})
    observation, _ = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    depth = observation["depth"][camera][0]
    expected = plane_depth(env.unwrapped.world, camera, 64)
    error = (depth - expected)[np.isfinite(expected)]
    assert error.max() < MILLIMETRE  # nothing lies below the table
    on_table = np.abs(error) < MILLIMETRE
    assert on_table.mean() > (0.6 if camera == "primary" else 0.5)  # the rest is the robot and what stands there
    assert depth.min() > 0.02
    env.close()


def test_depth_follows_the_hand_and_pictures_stay_as_they_are() -> None:
    plain, deep = make("Reach"), make("Reach", look={"depth": True})
    (seen, _), (measured, _) = plain.reset(seed=5), deep.reset(seed=5)
    assert "depth" not in seen
    down = np.array([0, 0, 1, 0, 0, 0, 1], np.float32)  # along the tool's own axis
    world = deep.unwrapped.world

    def on_table(depth: np.ndarray) -> np.ndarray:
        return np.abs(depth[0] - plane_depth(world, "wrist", 64)) < MILLIMETRE

    first, both = measured["depth"]["wrist"].copy(), on_table(measured["depth"]["wrist"])
    for _ in range(4):
        seen, measured = plain.step(down)[0], deep.step(down)[0]
        for camera, image in seen["image"].items():
            assert np.array_equal(image, measured["image"][camera])
    both &= on_table(measured["depth"]["wrist"])
    assert both.sum() > 500
    assert (first - measured["depth"]["wrist"])[0][both].min() > 0.01
    plain.close()
    deep.close()
