"""Tests of `model.detector.config`."""

import pytest

from model.detector.config import ConfigError, DetectorConfig


def test_json() -> None:
    """A description survives JSON, tuples included."""
    config = DetectorConfig(stem_width=8, widths=(8, 16, 24, 32), depths=(1, 1, 2, 1), neck_width=12, head_depth=1)
    assert DetectorConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("text", ["", "[]", "{}x", '{"stem": 3}', '{"widths": [1, 2]}', '{"neck_width": 0}'])
def test_refusals(text: str) -> None:
    """What describes no detector is refused."""
    with pytest.raises(ConfigError):
        DetectorConfig.from_json(text)
