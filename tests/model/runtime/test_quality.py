"""Quality, against faces turned by known angles and crops blurred by known amounts."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.runtime.alignment import ARCFACE_TEMPLATE_P2
from model.runtime.quality import Pose, assess, pose_of, sharpness_of

# A face other than the one inside `model.runtime.quality`: rounded proportions, in eye distances, y down, z inwards.
FACE = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.55, -0.42], [-0.4, 1.05, 0.08], [0.4, 1.05, 0.08]], np.float64)


def turned(*, yaw: float = 0, pitch: float = 0, roll: float = 0, perspective: float = 0) -> NDArray[np.float64]:
    """Landmarks in pixels of FACE turned by degrees: yaw to the viewer's right, pitch up, roll clockwise."""
    y, p, r = np.radians([-yaw, -pitch, roll])
    around_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    around_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    around_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = FACE @ (around_z @ around_y @ around_x).T
    return np.asarray(200 + 50 * points[:, :2] / (1 + perspective * points[:, 2:]), np.float64)


def crop_of(astronaut: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(astronaut)) as picture:
        return np.array(picture.convert("RGB").crop((168, 70, 280, 182)), np.uint8)


def test_a_face_turned_to_the_viewers_right_moves_its_nose_right_and_has_positive_yaw() -> None:
    """The sign of yaw: a nose to the right of where a frontal face has it is positive."""
    right = ARCFACE_TEMPLATE_P2.copy()
    right[2, 0] += 8
    left = ARCFACE_TEMPLATE_P2.copy()
    left[2, 0] -= 8
    assert pose_of(right).yaw > 10
    assert pose_of(left).yaw < -10


def test_a_raised_nose_has_positive_pitch() -> None:
    """The sign of pitch: a nose nearer to the eyes than a frontal face has it looks up."""
    up, down = ARCFACE_TEMPLATE_P2.copy(), ARCFACE_TEMPLATE_P2.copy()
    up[2, 1] -= 8
    down[2, 1] += 8
    assert pose_of(up).pitch > pose_of(ARCFACE_TEMPLATE_P2).pitch + 10
    assert pose_of(down).pitch < pose_of(ARCFACE_TEMPLATE_P2).pitch - 10


def test_a_clockwise_tilt_has_positive_roll() -> None:
    """The sign of roll: the viewer's right eye lower than the left one is positive."""
    assert pose_of(turned(roll=20)).roll == pytest.approx(20, abs=1)
    assert pose_of(turned(roll=-20)).roll == pytest.approx(-20, abs=1)


@pytest.mark.parametrize("perspective", [0, 0.1])
@pytest.mark.parametrize("angle", [-45, -20, 20, 45])
def test_known_turns_come_back_within_ten_degrees(angle: float, perspective: float) -> None:
    """Yaw and pitch of another face than the model's, seen from near or far, are right in sign and rough magnitude."""
    frontal = pose_of(turned(perspective=perspective))
    assert pose_of(turned(yaw=angle, perspective=perspective)).yaw == pytest.approx(angle, abs=10)
    nodded = pose_of(turned(pitch=angle / 2, perspective=perspective)).pitch
    assert nodded - frontal.pitch == pytest.approx(angle / 2, abs=10)


def test_turning_the_picture_changes_roll_alone() -> None:
    """A face's yaw and pitch are the same however the camera was held."""
    upright, tilted = pose_of(turned(yaw=30, pitch=10)), pose_of(turned(yaw=30, pitch=10, roll=60))
    assert (tilted.yaw, tilted.pitch) == pytest.approx((upright.yaw, upright.pitch), abs=1e-6)
    assert tilted.roll - upright.roll == pytest.approx(60, abs=1e-6)


def test_size_and_place_of_the_face_do_not_change_its_pose() -> None:
    """Pose is the same for a face ten times larger elsewhere on the picture."""
    near, far = pose_of(turned(yaw=15) * 10 + 700), pose_of(turned(yaw=15))
    assert (near.yaw, near.pitch, near.roll) == pytest.approx((far.yaw, far.pitch, far.roll), abs=1e-6)


def test_the_frontal_template_is_nearly_frontal() -> None:
    """ArcFace's mean frontal face, which served to fit nothing here, has small angles."""
    pose = pose_of(ARCFACE_TEMPLATE_P2)
    assert abs(pose.yaw) < 2
    assert abs(pose.pitch) < 12
    assert abs(pose.roll) < 2


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), 1e9)])
def test_nonsense_landmarks_give_a_finite_pose(points: NDArray[np.float64]) -> None:
    """Points that are all alike, or not numbers, give zeros and not an error."""
    assert pose_of(points) == Pose(0, 0, 0)


def test_blur_lowers_sharpness_step_by_step(astronaut: bytes) -> None:
    """The more a real face is blurred, the lower its sharpness, within 0 to 1."""
    crop = crop_of(astronaut)
    steps = [sharpness_of(crop)]
    steps += [sharpness_of(np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)) for sigma in (0.5, 1, 2, 4)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == len(steps)
    assert 0.5 < steps[0] < 1
    assert 0 < steps[-1] < 0.1


def test_a_flat_crop_has_no_sharpness() -> None:
    """A crop of one colour has sharpness 0."""
    assert sharpness_of(np.full((112, 112, 3), 127, np.uint8)) == 0


@pytest.mark.parametrize("side", [160, 224])
def test_sharpness_hardly_depends_on_the_packs_crop_side(astronaut: bytes, side: int) -> None:
    """The same face in crops of another side has about the same sharpness."""
    crop = crop_of(astronaut)
    other = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
    assert sharpness_of(np.asarray(other, np.uint8)) == pytest.approx(sharpness_of(crop), abs=0.25)


def test_size_is_the_shorter_side_of_the_box(astronaut: bytes) -> None:
    """`size` is in the box's pixels, its shorter side, and a box inside out is 0."""
    crop, points = crop_of(astronaut), ARCFACE_TEMPLATE_P2
    assert assess(crop, points, np.array([10, 20, 110, 170], np.float32)).size == 100
    assert assess(crop, points, np.array([110, 20, 10, 170], np.float32)).size == 0
