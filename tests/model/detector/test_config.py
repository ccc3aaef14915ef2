"""Tests of `model.detector.config`."""

import pytest

from model.detector.config import ConfigError, DetectorConfig
from model.training.detection.recipe import DetectorRecipe


def test_json() -> None:
    """A description survives JSON, tuples included."""
    config = DetectorConfig(stem_width=8, widths=(8, 16, 24, 32), depths=(1, 1, 2, 1), neck_width=12, head_depth=1)
    assert DetectorConfig.from_json(config.to_json()) == config


def test_older_descriptions() -> None:
    """A description that says nothing of blocks for the landmarks alone has none, and the recipe's own has some."""
    assert DetectorConfig.from_json('{"neck_width": 64}').landmark_depth == 0
    assert DetectorRecipe().network.landmark_depth > 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}x",
        '{"stem": 3}',
        '{"widths": [1, 2]}',
        '{"neck_width": 0}',
        '{"landmark_depth": -1}',
        '{"landmark_widths": [8, 8]}',
    ],
)
def test_refusals(text: str) -> None:
    """What describes no detector is refused."""
    with pytest.raises(ConfigError):
        DetectorConfig.from_json(text)
