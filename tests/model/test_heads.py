"""Tests of model.heads."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from model.config import FusionConfig, GroupConfig
from model.heads import ContextHead, EmbeddingHead, FusionHead, GroupHead, build_head
from tests.model.networks import FUSIONS, SMALL_FAER_ATTRIBUTES, SMALL_SWINFACE, TINY, small_iresnet


def test_group_has_one_layer_an_output() -> None:
    """A group answers each of its outputs with that output's size, from one trunk."""
    head = GroupHead(TINY, GroupConfig("a", ("age", "race", "5_o_clock_shadow", "expression")))
    maps = [torch.randn(2, dim, 7, 7) for dim in TINY.backbone.tap_dims]
    sizes = {name: tuple(value.shape) for name, value in head(maps).items()}
    assert sizes == {"age": (2, 1), "race": (2, 5), "5_o_clock_shadow": (2, 2), "expression": (2, 7)}


def test_dropout_acts_in_training_alone() -> None:
    """In evaluation the trunk answers alike twice; in training dropout makes it differ."""
    head = GroupHead(TINY, GroupConfig("a", ("expression",)))
    trunk: Any = head.trunk
    trunk[2].p = 0.9
    maps = [torch.randn(4, dim, 7, 7) for dim in TINY.backbone.tap_dims]
    head.eval()
    assert torch.equal(head(maps)["expression"], head(maps)["expression"])
    head.train()
    passes = torch.stack([head(maps)["expression"] for _ in range(5)])
    assert not torch.equal(passes[0], passes[1])


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
def test_every_published_fusion_answers_and_learns(fusion: FusionConfig) -> None:
    """Each variant answers every output and gives every parameter of the head a gradient."""
    torch.manual_seed(0)
    config = replace(SMALL_SWINFACE, fusion=fusion, dropout=0.0)
    head = FusionHead(config)
    maps = [torch.randn(3, dim, side, side) for dim, side in zip((16, 32, 32), (14, 7, 7), strict=True)]
    answers = head(maps, None)
    assert {name: tuple(value.shape) for name, value in answers.items()} == {
        name: (3, config.output_size(name)) for name in config.outputs
    }
    sum(value.square().sum() for value in answers.values()).backward()
    assert [name for name, value in head.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize(("features", "widths", "used"), [("local", (4,), [0]), ("global", (4,), [1])])
def test_features_choose_the_levels(features: str, widths: tuple[int, ...], used: list[int]) -> None:
    """`local` reads all maps but the last, `global` the last alone: a change of another map changes nothing."""
    head: Any = FusionHead(replace(TINY, fusion=FusionConfig(widths=widths, features=features))).eval()  # type: ignore[arg-type]
    maps = [torch.randn(2, dim, 7, 7) for dim in TINY.backbone.tap_dims]
    before = head(maps, None)["expression"]
    for index in range(len(maps)):
        changed = [level + 1 if place == index else level for place, level in enumerate(maps)]
        assert torch.equal(head(changed, None)["expression"], before) == (index not in used)


def test_a_shared_fusion_is_one_for_all_groups() -> None:
    """With a shared fusion the head has one convolution a level in all, and each group reads what it gives."""
    config = replace(TINY, fusion=replace(TINY.fusion, shared=True))
    head = FusionHead(config).eval()
    convolutions = [name for name in head.state_dict() if ".convs." in name]
    assert convolutions == ["shared_fusion.convs.0.weight", "shared_fusion.convs.1.weight"]
    maps = [torch.randn(2, dim, 7, 7) for dim in TINY.backbone.tap_dims]
    fused = head["shared_fusion"](maps)
    torch.testing.assert_close(head(maps, None)["race"], head["demographic"]([fused])["race"])


def test_context_head_is_the_normed_mean_of_the_attended_map() -> None:
    """FAER's: attention, mean, layer norm, one linear layer for the outputs in order; the mean is answered, too."""
    head = ContextHead(SMALL_FAER_ATTRIBUTES)
    last = torch.randn(2, 32, 2, 2)
    answers = head([torch.zeros(2, 8, 4, 4), last], None)
    feature = head.attention(last).mean((2, 3))
    torch.testing.assert_close(answers["feature"], feature)
    centred = feature - feature.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    logits = normed @ head.linear.weight.T + head.linear.bias
    together = torch.cat([answers[name] for name in SMALL_FAER_ATTRIBUTES.outputs], 1)
    torch.testing.assert_close(together, logits, rtol=1e-4, atol=1e-5)


def test_embedding_head_reads_the_direction_alone() -> None:
    """face_analysis_pytorch's: a linear layer on the unit embedding, so that its length changes nothing."""
    config = small_iresnet(task="age")
    head = EmbeddingHead(config)
    embedding = torch.randn(3, 12)
    layer: Any = head["age"]
    layer = layer["age"]
    expected = F.linear(embedding / embedding.norm(dim=1, keepdim=True), layer.weight, layer.bias)
    torch.testing.assert_close(head([], embedding)["age"], expected)
    torch.testing.assert_close(head([], 7 * embedding)["age"], expected)
    assert expected.shape == (3, 100)


def test_head_follows_the_configuration() -> None:
    """The registry gives the head that the configuration names; without groups it answers nothing."""
    heads = [build_head(config) for config in (TINY, SMALL_FAER_ATTRIBUTES, small_iresnet())]
    assert [type(head) for head in heads] == [FusionHead, ContextHead, EmbeddingHead]
    assert heads[2]([], torch.randn(2, 12)) == {}
    assert FusionHead(replace(TINY, groups=()))([], None) == {}
