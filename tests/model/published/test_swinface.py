"""Tests of model.published.swinface."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.config import FusionConfig, NetworkConfig
from model.network import MultiTaskNetwork
from model.published.errors import PublishedError
from model.published.swinface import from_published, is_derived, to_published
from tests.model.networks import FUSIONS, SMALL_SWINFACE, TINY, TINY_TRUNK


def _state(config: NetworkConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return MultiTaskNetwork(config).state_dict()


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
def test_variants_have_a_layout_of_their_own(fusion: FusionConfig) -> None:
    """Every published variant is written and read as the same state."""
    config = replace(SMALL_SWINFACE, fusion=fusion)
    state = _state(config)
    back = from_published(to_published(state, config), config)[1]
    assert set(back) == set(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("split", "nets.3.conv.convs.1.weight", (6, 32, 3, 3)),
        ("normal", "nets.3.conv.conv.weight", (16, 80, 3, 3)),
        ("shared split", "conv.convs.2.weight", (6, 32, 3, 3)),
        ("shared normal", "conv.conv.weight", (16, 80, 3, 3)),
        ("split", "nets.10.channel_attention.mlp.3.bias", (16,)),
        ("cbam", "nets.0.spatial_attention.spatial.conv.weight", (1, 2, 7, 7)),
        ("cbam", "nets.0.spatial_attention.spatial.bn.running_var", (1,)),
        ("lanet", "nets.5.spatial_attention.LANets.2.conv1.weight", (8, 16, 1, 1)),
        ("a lanet a group", "nets.10.spatial_attention.LANets.3.conv2.weight", (1, 8, 1, 1)),
        ("local", "nets.0.conv.convs.1.weight", (8, 32, 3, 3)),
        ("global", "nets.0.conv.conv.weight", (16, 32, 3, 3)),
    ],
)
def test_variants_have_the_published_names(name: str, key: str, shape: tuple[int, ...]) -> None:
    """What a variant adds stands under the name that the published code gives it."""
    config = replace(SMALL_SWINFACE, fusion=FUSIONS[name])
    assert tuple(to_published(_state(config), config)["state_dict_fam"][key].shape) == shape


def test_what_is_switched_off_has_no_key() -> None:
    """A shared fusion leaves the groups none of their own, and no attention leaves no key of one."""
    shared = replace(SMALL_SWINFACE, fusion=FUSIONS["shared split"])
    assert not [key for key in to_published(_state(shared), shared)["state_dict_fam"] if "nets.0.conv" in key]
    plain = replace(SMALL_SWINFACE, fusion=FUSIONS["no attention"])
    assert not [key for key in to_published(_state(plain), plain)["state_dict_fam"] if "attention" in key]


def test_patches_merge_at_a_stages_end() -> None:
    """The published stage k merges what timm's stage k + 1 begins with."""
    state = _state(SMALL_SWINFACE)
    backbone = to_published(state, SMALL_SWINFACE)["state_dict_backbone"]
    for stage in (0, 1):
        published = backbone[f"layers.{stage}.downsample.reduction.weight"]
        assert torch.equal(published, state[f"backbone.layers.{stage + 1}.downsample.reduction.weight"])
    assert not [key for key in backbone if key.startswith("layers.2.downsample")]


def test_outputs_stand_in_the_published_order() -> None:
    """Output layer k is the k-th of the groups' outputs: gender, age, young, expression, smiling, attractive, ..."""
    state = _state(SMALL_SWINFACE)
    outputs = to_published(state, SMALL_SWINFACE)["state_dict_om"]
    order = ["gender.outputs.gender", "age.outputs.age", "age.outputs.young", "expression.outputs.expression"]
    for k, name in enumerate([*order, "expression.outputs.smiling", "whole_face.outputs.attractive"]):
        assert torch.equal(outputs[f"output_fcs.{k}.weight"], state[f"groups.{name}.weight"])
    assert torch.equal(outputs["output_fcs.41.bias"], state["groups.neck.outputs.wearing_necktie.bias"])
    assert len(outputs) == 84


def test_tmlfa_is_known_by_its_output_layers() -> None:
    """Output layers named `result_fcs` are TMLFA's, with or without `module.`; a mixture of both is refused."""
    state = _state(SMALL_SWINFACE)
    parts = to_published(state, SMALL_SWINFACE, output_layers="result_fcs")
    assert all(key.startswith("result_fcs.") for key in parts["state_dict_om"])
    for prefix in ("", "module."):
        outputs = {f"{prefix}{key}": value for key, value in parts["state_dict_om"].items()}
        back = from_published({**parts, "state_dict_om": outputs}, SMALL_SWINFACE)[1]
        assert all(torch.equal(back[key], value) for key, value in state.items())
    parts["state_dict_om"]["output_fcs.0.bias"] = parts["state_dict_om"].pop("result_fcs.0.bias")
    with pytest.raises(PublishedError, match=r"state_dict_om: 'result_fcs\.0\.bias' is missing"):
        from_published(parts, SMALL_SWINFACE)


def test_a_pretrained_backbone_stands_alone() -> None:
    """A network without groups is a pretrained backbone: one part, and the analysis subnets are not expected."""
    config = replace(SMALL_SWINFACE, groups=())
    state = _state(config)
    parts = to_published(state, config)
    assert set(parts) == {"state_dict_backbone"}
    assert from_published(parts, config)[1].keys() == state.keys()
    whole = to_published(_state(SMALL_SWINFACE), SMALL_SWINFACE)
    with pytest.raises(PublishedError, match="'state_dict_fam' is no part of this checkpoint"):
        from_published(whole, config)


def test_what_is_not_needed_may_be_absent() -> None:
    """Without the derived buffers and the unused `head` a checkpoint reads as with them; there, they are checked."""
    parts = to_published(_state(SMALL_SWINFACE), SMALL_SWINFACE)
    backbone = parts["state_dict_backbone"]
    unused = [key for key in backbone if is_derived(key) or key.startswith("head.")]
    assert len(unused) == 5 + 1 + 2  # a table a block, a mask where windows shift, and the head's two
    bare = {**parts, "state_dict_backbone": {key: value for key, value in backbone.items() if key not in unused}}
    state = from_published(parts, SMALL_SWINFACE)[1]
    assert all(torch.equal(state[key], value) for key, value in from_published(bare, SMALL_SWINFACE)[1].items())
    for key in unused:
        broken = {**backbone, key: torch.zeros(3, dtype=backbone[key].dtype)}
        with pytest.raises(PublishedError, match=f"'{key}' has the shape"):
            from_published({**parts, "state_dict_backbone": broken}, SMALL_SWINFACE)


def test_derived_buffers_are_swins() -> None:
    """The derived buffers that are written are Swin's own: offsets in a window, and which tokens may meet."""
    backbone = to_published(_state(SMALL_SWINFACE), SMALL_SWINFACE)["state_dict_backbone"]
    window, grid, shift = 7, 14, 3
    index = backbone["layers.1.blocks.0.attn.relative_position_index"]
    for a, b in [(0, 0), (0, 48), (48, 0), (10, 31)]:
        down, right = a // window - b // window + window - 1, a % window - b % window + window - 1
        assert int(index[a, b]) == down * (2 * window - 1) + right
    mask = backbone["layers.1.blocks.1.attn_mask"]
    assert mask.shape == (4, 49, 49)
    region = [sum(place >= edge for edge in (grid - window, grid - shift)) for place in range(grid)]
    for number, a, b in [(0, 0, 48), (3, 0, 48), (3, 0, 1), (1, 0, 6), (2, 48, 3)]:
        places = [(number // 2 * window + t // window, number % 2 * window + t % window) for t in (a, b)]
        same = len({(region[down], region[right]) for down, right in places}) == 1
        assert float(mask[number, a, b]) == (0.0 if same else -100.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age_scale_years": 20.0}, "whose age_scale_years is 20.0; it is 1.0"),
        ({"recognition_maps": 2}, "whose recognition_maps is 2"),
        ({"embedding_dim": None}, "without an embedding"),
        ({"backbone": replace(TINY_TRUNK, stem="conv"), "fusion": TINY.fusion}, "a Swin with patches for a stem"),
    ],
)
def test_what_was_never_published_has_no_layout(change: dict[str, object], message: str) -> None:
    """A configuration that the published code cannot build is refused, and the field is named."""
    config = replace(SMALL_SWINFACE, **change)  # type: ignore[arg-type]
    with pytest.raises(PublishedError, match=message):
        to_published(_state(config), config)
