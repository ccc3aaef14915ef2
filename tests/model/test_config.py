"""Tests of model.config."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import pytest

from model.config import (
    FAER_ATTRIBUTES,
    FAER_EXPRESSION,
    NANO,
    OUTPUT_SIZES,
    SWINFACE,
    TMLFA,
    ConvNeXtConfig,
    FusionConfig,
    GroupConfig,
    IResNetConfig,
    NetworkConfig,
    SwinConfig,
    iresnet,
)
from model.network_config import Temperatures
from model.runtime.labels import ATTRIBUTES
from tests.model.networks import SMALL_SWINFACE, TINY, TINY_TRUNK, small_iresnet


@pytest.mark.parametrize(
    "config",
    [
        *(NANO, SWINFACE, TMLFA, FAER_ATTRIBUTES, FAER_EXPRESSION, iresnet(50), iresnet(152, True, "age"), TINY),
        dataclasses.replace(TINY, embedding_dim=None),
        dataclasses.replace(TINY, fusion=FusionConfig(widths=(8,), mode="normal", spatial_attention="lanet")),
    ],
)
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
        ({"fusion": FusionConfig(widths=(4, 4), mode="normal")}, "1 level$"),
        ({"fusion": FusionConfig(widths=(4, 4), features="local")}, "1 level$"),
        ({"fusion": FusionConfig(widths=(4, 4), lanet_branches=(1, 2))}, "one number, or one a group"),
        ({"groups": (GroupConfig("shared_fusion", ("age",)),)}, "may be named 'shared_fusion'"),
        ({"head": "context"}, "one group"),
        ({"head": "embedding", "embedding_dim": None}, "needs an embedding_dim"),
        ({"head": "heads"}, "no head is named 'heads'"),
        ({"recognition": "round"}, "no recognition is named 'round'"),
        ({"age_form": "months"}, "no age_form is named"),
        ({"attribute_form": "triples"}, "no attribute_form is named"),
        ({"pixels": "raw"}, "no pixels is named"),
        ({"groups": (), "answers_embedding": False}, "needs an output"),
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


@pytest.mark.parametrize("kind", [SwinConfig, ConvNeXtConfig, IResNetConfig])
@pytest.mark.parametrize("change", [{"side_px": 50}, {"kind": "other"}])
def test_impossible_trunks_are_refused(
    kind: type[SwinConfig | ConvNeXtConfig | IResNetConfig], change: dict[str, object]
) -> None:
    """A trunk of any kind refuses a side that its stages do not divide, and another kind's name."""
    with pytest.raises(ValueError, match=r"divisible|is of kind"):
        kind(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("units", [(1, 2), (1, 2, 0, 1), ()])
def test_stages_must_fit(units: tuple[int, ...]) -> None:
    """Stages that are not as many as their widths, or one without a unit, are refused."""
    with pytest.raises(ValueError, match="the same stages"):
        IResNetConfig(units=units)
    with pytest.raises(ValueError, match="the same stages"):
        ConvNeXtConfig(depths=units)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": "sum"}, "no pool is named 'sum'"),
        ({"mode": "joined"}, "no mode is named 'joined'"),
        ({"spatial_attention": "CBAM"}, "no spatial_attention is named 'CBAM'"),
        ({"features": "none"}, "no features is named 'none'"),
        ({"lanet_dropout": 1.5}, "a probability"),
        ({"lanet_branches": (2, 0)}, "one at least"),
    ],
)
def test_impossible_fusions_are_refused(change: dict[str, object], message: str) -> None:
    """A fusion that is not one of the published variants is refused, and the field is named."""
    with pytest.raises(ValueError, match=message):
        FusionConfig(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("fc_dims",), 3, "no field 'fc_dims'"),
        (("backbone", "depth"), 3, "no field 'depth'"),
        (("backbone",), 3, "must be a JSON object"),
        (("groups",), 3, "JSON array"),
        (("backbone", "kind"), "vit", "no trunk is of kind 'vit'"),
        (("backbone", "kind"), "iresnet", "IResNetConfig has no field 'absolute_position'"),
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


def test_old_files_mean_what_they_meant() -> None:
    """A configuration written before there were kinds of trunk, head, age and pixels reads as the same network."""
    stored = json.loads(TINY.to_json())
    del stored["backbone"]["kind"]
    for name in ("head", "recognition", "recognition_dropout", "answers_embedding", "age_form", "num_age_ranks"):
        del stored[name]
    del stored["attribute_form"], stored["pixels"], stored["linear_std"]
    stored["fusion"] = {name: stored["fusion"][name] for name in ("widths", "reduction", "pool")}
    assert NetworkConfig.from_json(json.dumps(stored)) == TINY
    assert isinstance(NetworkConfig.from_json(json.dumps(stored)).backbone, SwinConfig)


def test_the_shipped_file_reads_as_nano(project: Path) -> None:
    """The configuration in the shipped pack is NANO, at the temperatures that its export fitted."""
    shipped = NetworkConfig.from_json((project / "model/packs/nano/analyzer/config.json").read_text())
    assert dataclasses.replace(shipped, temperatures=NANO.temperatures) == NANO


@pytest.mark.parametrize(("depth", "num_units"), [(50, 24), (100, 49), (152, 50)])
def test_iresnet_depths(depth: Literal[50, 100, 152], num_units: int) -> None:
    """Each depth has the published residual units; a task's network keeps its embedding to itself."""
    backbone = iresnet(depth, True).backbone
    assert isinstance(backbone, IResNetConfig)
    assert sum(backbone.units) == num_units
    assert backbone.squeeze_excitation
    assert backbone.grids == (56, 28, 14, 7)
    assert iresnet(depth).tasks == ("embedding",)
    assert iresnet(depth, task="race").tasks == ("race",)


def test_output_sizes_follow_the_forms() -> None:
    """Age is one number or a rank a logit, an attribute a pair or one logit; the rest is as long as its labels."""
    assert [SWINFACE.output_size(name) for name in ("age", "young", "gender", "expression")] == [1, 2, 2, 7]
    assert FAER_ATTRIBUTES.output_size("young") == 1
    assert [small_iresnet(task="age").output_size(name) for name in ("age", "race")] == [100, 5]


def test_features_and_branches_of_a_fusion() -> None:
    """`levels` picks the maps that `features` names; branches are one number for all groups, or one a group."""
    dims = SMALL_SWINFACE.backbone.tap_dims
    picked = {each: dims[FusionConfig(features=each).levels] for each in ("all", "local", "global")}
    assert picked == {"all": (16, 32, 32), "local": (16, 32), "global": (32,)}
    assert [FusionConfig(lanet_branches=(3,)).num_branches(group) for group in (0, 5)] == [3, 3]
    assert [FusionConfig(lanet_branches=(1, 4)).num_branches(group) for group in (0, 1)] == [1, 4]
    assert TINY_TRUNK.tap_dims == (16, 16)


def test_temperatures_travel_with_the_configuration() -> None:
    """Temperatures come back from JSON; a configuration that was written before there were any has none."""
    config = dataclasses.replace(TINY, temperatures=Temperatures(gender=(1.5,), attributes=(2.0,) * 40))
    assert NetworkConfig.from_json(config.to_json()) == config
    old = json.loads(TINY.to_json())
    del old["temperatures"]
    assert NetworkConfig.from_json(json.dumps(old)) == TINY


@pytest.mark.parametrize(
    "broken", [{"gender": (0.0,)}, {"race": ()}, {"expression": (1.0, 2.0)}, {"attributes": (1.0,) * 39}]
)
def test_temperatures_that_cannot_be_are_refused(broken: dict[str, tuple[float, ...]]) -> None:
    """A temperature is over 0; a task has one, and attributes one or forty."""
    with pytest.raises(ValueError, match="temperatures"):
        Temperatures(**broken)
