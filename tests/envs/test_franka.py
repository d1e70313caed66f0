"""The environment over numpy fakes, and the conformance every set of drivers must show."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from seerkit.envs.franka import ArmReading, Drivers, FixedTask, Frame, FrankaEnv, GripperReading, Limits, SafetyFilter
from seerkit.envs.pose import Pose

START = Pose.from_euler_xyz((math.pi, 0, 0), (0.5, 0.0, 0.3))
STILL = np.array([0, 0, 0, 0, 0, 0, 1.0], np.float32)


@dataclass
class FakeArm:
    pose: Pose = START
    fault: str | None = None
    log: list[str] = field(default_factory=list)
    target: Pose = START

    def reset(self) -> None:
        self.target = self.pose = START
        self.log.append("reset")

    def read(self) -> ArmReading:
        return ArmReading(self.pose, np.zeros(7), self.fault)

    def command(self, pose: Pose) -> None:
        self.target = pose
        self.log.append("command")

    def stop(self) -> None:
        self.log.append("stop")

    def close(self) -> None:
        self.log.append("close")


@dataclass
class FakeGripper:
    width: float = 0.085
    opened: bool = True

    def reset(self) -> None:
        self.width, self.opened = 0.085, True

    def read(self) -> GripperReading:
        return GripperReading(self.width, 0.085)

    def command(self, opened: bool) -> None:
        self.opened = opened

    def close(self) -> None:
        pass


@dataclass
class FakeClock:
    arm: FakeArm
    gripper: FakeGripper
    time: float = 0.0

    def reset(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def tick(self) -> None:
        self.time += 1 / 15
        self.arm.pose = self.arm.target
        self.gripper.width += float(np.clip((0.085 if self.gripper.opened else 0.0) - self.gripper.width, -0.02, 0.02))


@dataclass
class FakeCamera:
    clock: FakeClock
    stuck: bool = False
    number: int = 0
    time: float = 0.0

    def read(self) -> Frame:
        if not self.stuck:
            self.number, self.time = self.number + 1, self.clock.now()
        picture = np.full((3, 8, 8), round(15 * self.time) % 256, np.uint8)
        return Frame(picture, self.number, self.time)

    def close(self) -> None:
        pass


def fake_drivers() -> Drivers:
    arm, gripper = FakeArm(), FakeGripper()
    clock = FakeClock(arm, gripper)
    return Drivers(arm, gripper, {"primary": FakeCamera(clock), "wrist": FakeCamera(clock)}, clock)


def fake_env(**options: object) -> FrankaEnv:
    return FrankaEnv(fake_drivers(), FixedTask("do nothing"), image_size=8, **options)  # type: ignore[arg-type]


def test_gymnasium_accepts_it() -> None:
    check_env(fake_env(render_mode="rgb_array"), skip_render_check=False)


def test_the_observation_follows_the_drivers() -> None:
    env = fake_env()
    observation, info = env.reset(seed=0)
    np.testing.assert_allclose(observation["state"], [0.5, 0, 0.3, math.pi, 0, 0, 1], atol=1e-6)
    assert observation["language_instruction"] == "do nothing"
    assert info["is_success"] == np.False_
    observation, *_ = env.step(np.array([1, 0, 0, 0, 0, 0, 1], np.float32))
    assert observation["state"][0] == pytest.approx(0.52)
    assert observation["image"]["primary"][0, 0, 0] == 1


def test_roll_can_be_raw_or_continuous() -> None:
    above = Pose.from_euler_xyz((math.pi + 0.01, 0, 0), (0.5, 0, 0.3))
    for positive, roll in ((False, 0.01 - math.pi), (True, math.pi + 0.01)):
        env = fake_env(roll_positive=positive)
        env.reset()
        env.drivers.arm.target = above  # type: ignore[attr-defined]
        env.drivers.clock.tick()
        assert env._observe()["state"][3] == pytest.approx(roll)


def test_the_gripper_is_one_open_and_minus_one_closed() -> None:
    env = fake_env(safety=SafetyFilter(Limits(gripper_ticks=1, gripper_dwell=0)))
    observation, _ = env.reset()
    assert observation["state"][6] == 1
    for _ in range(5):
        observation, *_ = env.step(-STILL)
    assert observation["state"][6] == -1
    assert env.drivers.gripper.read().width == 0
    for _ in range(5):
        observation, *_ = env.step(STILL)
    assert observation["state"][6] == 1


def test_a_reflex_stops_the_arm_and_ends_the_episode() -> None:
    env = fake_env()
    env.reset()
    arm = env.drivers.arm
    arm.fault = "cartesian_reflex"  # type: ignore[attr-defined]
    _, _, terminated, truncated, info = env.step(STILL)
    assert (terminated, truncated, info["abort"]) == (False, True, "cartesian_reflex")
    assert arm.log[-1] == "stop"  # type: ignore[attr-defined]
    commands = arm.log.count("command")  # type: ignore[attr-defined]
    env.step(STILL)
    assert arm.log.count("command") == commands  # type: ignore[attr-defined] - nothing resumes by itself


def test_nan_raises_by_default_and_the_env_lives_on() -> None:
    env = fake_env()
    env.reset()
    with pytest.raises(ValueError, match=r"expected a finite action of shape \(7,\), given \[nan"):
        env.step(np.full(7, np.nan))
    with pytest.raises(ValueError, match=r"given shape \(8,\)"):
        env.step(np.zeros(8))
    _, _, _, truncated, _ = env.step(STILL)
    assert not truncated


def test_nan_holds_on_a_robot_and_aborts_after_three() -> None:
    env = fake_env(on_bad_action="hold")
    env.reset()
    ends = [env.step(np.full(7, np.nan))[3] for _ in range(3)]
    assert ends == [False, False, True]
    assert env.drivers.arm.read().pose.distance(START)[0] == 0
    with pytest.raises(ValueError, match=r"given shape \(6,\)"):  # a wrong shape is never a wish
        env.step(np.zeros(6))


def test_a_stuck_camera_holds_the_arm_then_ends_the_episode() -> None:
    env = fake_env()
    env.reset()
    env.drivers.cameras["wrist"].stuck = True  # type: ignore[attr-defined]
    forward = np.array([0.1, 0, 0, 0, 0, 0, 1], np.float32)
    positions, steps = [], 0
    while True:
        observation, _, _, truncated, info = env.step(forward)
        positions.append(observation["state"][0])
        steps += 1
        if truncated:
            break
    assert "s old" in info["abort"]
    assert steps == 17  # one second and the step that noticed
    assert positions[4] == positions[-1]
    assert info["safety"]["stale"] > 10


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match="on_bad_action to be one of"):
        fake_env(on_bad_action="ignore")
    with pytest.raises(ValueError, match="render_mode to be one of"):
        fake_env(render_mode="human")


@pytest.fixture(params=["fake", pytest.param("tabletop", marks=pytest.mark.sim)])
def env(request: pytest.FixtureRequest) -> Iterator[FrankaEnv]:
    if request.param == "fake":
        made = fake_env()
    else:
        from seerkit.envs.tabletop.env import TabletopEnv

        made = TabletopEnv("Reach", image_size=16)
    made.reset(seed=0)
    yield made
    made.close()


def test_drivers_move_to_where_they_are_told(env: FrankaEnv) -> None:
    arm, clock = env.drivers.arm, env.drivers.clock
    goal = arm.read().pose @ Pose.from_euler_xyz((0.03, 0.02, -0.04), (0.01, -0.01, 0.01))
    arm.command(goal)
    for _ in range(6):
        clock.tick()
    metres, radians = arm.read().pose.distance(goal)
    assert metres < 1e-3
    assert radians < 5e-3
    arm.stop()
    arm.command(goal @ Pose.of((0, 0, -0.02)))


def test_drivers_read_the_same_until_time_passes(env: FrankaEnv) -> None:
    first, second = env.drivers.arm.read(), env.drivers.arm.read()
    np.testing.assert_array_equal(first.pose.matrix, second.pose.matrix)
    before = env.drivers.clock.now()
    env.drivers.clock.tick()
    assert env.drivers.clock.now() == pytest.approx(before + 1 / 15)
    assert first.joints.shape == (7,)


def test_frames_carry_growing_numbers_and_times(env: FrankaEnv) -> None:
    for camera in env.drivers.cameras.values():
        first = camera.read()
        env.drivers.clock.tick()
        second = camera.read()
        assert second.number > first.number
        assert second.time > first.time
        assert first.image.dtype == np.uint8
        assert first.image.shape[0] == 3


def test_grippers_close_and_open(env: FrankaEnv) -> None:
    gripper, clock = env.drivers.gripper, env.drivers.clock
    for opened in (False, True):
        gripper.command(opened)
        for _ in range(12):
            clock.tick()
        reading = gripper.read()
        assert reading.is_open == opened
        assert reading.width + 1e-3 >= 0
        assert reading.width <= reading.width_open + 2e-3
