"""Tests of model.config."""

import dataclasses
import json

import pytest

from model.config import NANO, OUTPUT_SIZES, SWINFACE, FusionConfig, GroupConfig, NetworkConfig, SwinConfig
from model.runtime.labels import ATTRIBUTES
from tests.model.networks import TINY


@pytest.mark.parametrize("config", [NANO, SWINFACE, TINY, dataclasses.replace(TINY, embedding_dim=None)])
def test_json_round_trip(config: NetworkConfig) -> None:
    """A configuration written as JSON reads back as an equal one, tuples and None included."""
    back = NetworkConfig.from_json(config.to_json())
    assert back == config
    assert hash(back) == hash(config)


def test_published_backbone() -> None:
    """SWINFACE states the published grids and the channels of the tapped maps."""
    assert SWINFACE.backbone.grids == (56, 28, 14, 7)
    assert SWINFACE.backbone.tap_dims == (192, 384, 768, 768)
    assert SWINFACE.fusion.channels == 512


def test_published_groups() -> None:
    """SWINFACE has eleven groups and the published 42 output layers less recognition, each attribute but male once."""
    outputs = SWINFACE.outputs
    assert len(SWINFACE.groups) == 11
    assert sum(OUTPUT_SIZES[name] for name in outputs) == 1 + 2 + 7 + 39 * 2
    assert set(outputs) == {"age", "gender", "expression", *ATTRIBUTES} - {"male"}
    assert outputs[:6] == ("gender", "age", "young", "expression", "smiling", "attractive")


def test_tasks() -> None:
    """NANO answers all six tasks; SWINFACE all but race."""
    assert NANO.tasks == ("embedding", "expression", "age", "gender", "attributes", "race")
    assert SWINFACE.tasks == ("embedding", "expression", "age", "gender", "attributes")


def test_tasks_follow_the_outputs() -> None:
    """A network without recognition and with one group answers that group alone."""
    config = dataclasses.replace(TINY, embedding_dim=None, groups=(GroupConfig("a", ("race", "age")),))
    assert config.tasks == ("age", "race")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": (GroupConfig("a", ("ages",)),)}, "no output is named 'ages'"),
        ({"groups": (GroupConfig("a", ("age", "age")),)}, "one group only"),
        ({"groups": (GroupConfig("a", ("age",)), GroupConfig("a", ("race",)))}, "share a name"),
        ({"groups": (GroupConfig("a", ("age", "young")),)}, "all of CelebA's or none"),
        ({"groups": (), "embedding_dim": None}, "needs an output"),
        ({"fusion": FusionConfig(widths=(4, 4, 4))}, "2 levels"),
    ],
)
def test_impossible_networks_are_refused(change: dict[str, object], message: str) -> None:
    """A network that could not answer is refused when it is described, and the reason is named."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"num_heads": (2, 4)},
        {"side_px": 100},
        {"embed_dim": 97},
        {"depths": (1,), "num_heads": (1,)},
        {"stem": "convolutions"},
        {"stem_blocks": 1},
        {"stem": "conv", "patch_px": 7, "side_px": 112},
    ],
)
def test_impossible_backbones_are_refused(change: dict[str, object]) -> None:
    """A backbone whose stages do not or stem do not fit each other or the image is refused."""
    with pytest.raises(ValueError, match=r"stages|divisible|stem"):
        dataclasses.replace(SwinConfig(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("fc_dims",), 3, "no field 'fc_dims'"),
        (("backbone", "depth"), 3, "no field 'depth'"),
        (("backbone",), 3, "must be a JSON object"),
        (("groups",), 3, "JSON array"),
    ],
)
def test_misspelt_json_is_refused(path: tuple[str, ...], value: object, message: str) -> None:
    """JSON with an unknown field or a value of another shape is refused, and the field is named."""
    stored = json.loads(TINY.to_json())
    inner = stored
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        NetworkConfig.from_json(json.dumps(stored))


def test_incomplete_json_is_refused() -> None:
    """JSON that lacks a field without a default is refused with a ValueError that names it."""
    with pytest.raises(ValueError, match="groups"):
        NetworkConfig.from_json(json.dumps({key: json.loads(TINY.to_json())[key] for key in ("backbone", "fusion")}))
