"""Where the shipped network's maps lie on real faces, for attributes whose place is known; docs/evaluation.md tells."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from model.runtime.labels import ATTRIBUTES
from model.training.dataset import read_faces
from model.training.explain.aims import parse_aim
from model.training.explain.explanation import explain, open_subject
from model.training.explain.gradcam import METHODS, Method, upsampled

NUM_FACES: Final = 32
Place = tuple[slice, slice]  # rows and columns of a crop of 112 pixels
EYES: Final = (slice(40, 62), slice(20, 92))
MOUTH: Final = (slice(80, 106), slice(34, 78))
NOSE: Final = (slice(55, 82), slice(40, 72))
HAIR: Final = (slice(0, 34), slice(0, 112))
PLACES: Final[dict[str, Place]] = {
    "eyeglasses": EYES,
    "narrow_eyes": EYES,
    "arched_eyebrows": (slice(32, 54), slice(20, 92)),
    "smiling": MOUTH,
    "mouth_slightly_open": MOUTH,
    "wearing_lipstick": MOUTH,
    "big_lips": MOUTH,
    "big_nose": NOSE,
    "pointy_nose": NOSE,
    "bald": HAIR,
    "bangs": HAIR,
    "wearing_hat": HAIR,
}


@pytest.fixture(scope="module")
def weights(shared_data: Path) -> dict[Method, dict[str, tuple[float, float]]]:
    """By method and attribute: the map's weight on the place over the place's area, and the share of empty maps."""
    table, analyzer = read_faces(shared_data, "celeba", "val"), open_subject("nano").analyzer
    found: dict[Method, dict[str, tuple[float, float]]] = {method: {} for method in METHODS}
    for name, place in PLACES.items():
        rows = np.flatnonzero(table.attributes[:, ATTRIBUTES.index(name)] == 1)[:NUM_FACES]
        aim = parse_aim(f"attributes.{name}.yes", analyzer.tasks)
        area = np.ones((112, 112))[place].sum() / 112**2
        for method in METHODS:
            maps = [
                upsampled(face[0].grid, 112) for face in explain(analyzer, table.images[rows], [aim], method=method)
            ]
            shares = [float(each[place].sum() / each.sum()) if each.any() else 0.0 for each in maps]
            empty = float(np.mean([not each.any() for each in maps]))
            found[method][name] = float(np.mean(shares)) / area, empty
    return found


def _mean(values: dict[str, tuple[float, float]], column: int) -> float:
    return float(np.mean([row[column] for row in values.values()]))


def test_nano_looks_where_an_attribute_is(weights: dict[Method, dict[str, tuple[float, float]]]) -> None:
    """Place by place the maps lie on the feature nearly twice as much as an even map would, and none is empty."""
    found = weights["hires-cam"]
    assert _mean(found, 0) > 1.8
    assert _mean(found, 1) == 0
    assert found["smiling"][0] > 1.5
    assert sum(weight > 1 for weight, _ in found.values()) >= 8


def test_averaged_gradients_tell_the_place_less_well_on_nanos_heads(
    weights: dict[Method, dict[str, tuple[float, float]]],
) -> None:
    """Grad-CAM's maps lie less on the feature than the default's, and some of them are empty."""
    averaged, default = weights["grad-cam"], weights["hires-cam"]
    assert _mean(averaged, 0) < _mean(default, 0)
    assert _mean(averaged, 1) > 0
