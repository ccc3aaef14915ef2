"""Tests of model.swin."""

from dataclasses import replace
from typing import Any, Literal, cast

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerStage
from torch import nn

from model.config import NANO, SwinConfig
from model.swin import ConvStem, ResidualBlock, SwinBackbone
from model.trunks import build_trunk
from tests.model.networks import TINY_TRUNK


def test_taps_have_the_configured_shapes() -> None:
    """One map a patch merging and one after the last stage, channels first, on the stages' grids."""
    taps = build_trunk(NANO.backbone)(torch.zeros(2, 3, 112, 112))
    assert [tuple(tap.shape) for tap in taps] == [(2, 128, 14, 14), (2, 256, 7, 7), (2, 256, 7, 7)]


def test_taps_stand_before_the_blocks_and_the_norm() -> None:
    """The walk taps what timm's own forward pass computes: merged patches, and the last stage before its norm."""
    torch.manual_seed(0)
    config = replace(TINY_TRUNK, stem="patch", stem_blocks=0, absolute_position=False)
    backbone = SwinBackbone(config).eval()
    whole: Any = SwinTransformer(
        img_size=112, patch_size=8, embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_size=7, num_classes=0
    ).eval()
    whole.load_state_dict(backbone.state_dict(), strict=False)
    images_BCHW = torch.randn(2, 3, 112, 112)
    merged, last = backbone(images_BCHW)
    first_stage = whole.layers[0](whole.patch_embed(images_BCHW))
    torch.testing.assert_close(merged.permute(0, 2, 3, 1), whole.layers[1].downsample(first_stage))
    torch.testing.assert_close(whole.norm(last.permute(0, 2, 3, 1)), whole.forward_features(images_BCHW))


def test_convolutions_come_before_a_stages_windows() -> None:
    """Residual blocks follow a stage's patch merging; the tap is what comes out of them, and other stages have none."""
    torch.manual_seed(0)
    backbone = SwinBackbone(replace(TINY_TRUNK, conv_depths=(0, 2))).eval()
    assert [len(cast("nn.Sequential", blocks)) for blocks in backbone.convs] == [0, 2]
    images_BCHW = torch.randn(2, 3, 112, 112)
    merged, _ = backbone(images_BCHW)
    assert backbone.position is not None
    x_BHWC = backbone.patch_embed(images_BCHW) + backbone.position
    x_BHWC = backbone.layers[1].downsample(backbone.layers[0].blocks(x_BHWC))  # type: ignore[operator]
    torch.testing.assert_close(merged, backbone.convs[1](x_BHWC.permute(0, 3, 1, 2)))


def test_convolutions_name_every_stage_or_none() -> None:
    """A list that is shorter than the stages is refused."""
    with pytest.raises(ValueError, match="conv_depths must name the stages that depths names, or none"):
        replace(TINY_TRUNK, conv_depths=(1,))


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_every_parameter_is_used(stem: Literal["patch", "conv"]) -> None:
    """Each of the backbone's parameters gets a gradient, whatever the stem: nothing of timm's lies idle."""
    config = SwinConfig(patch_px=8, embed_dim=8, depths=(2, 2), num_heads=(1, 2), drop_path=0.0, stem=stem)
    config = replace(config, stem_blocks=1 if stem == "conv" else 0, absolute_position=True)
    backbone = SwinBackbone(config)
    sum(tap.square().sum() for tap in backbone(torch.randn(2, 3, 112, 112))).backward()
    assert [name for name, value in backbone.named_parameters() if value.grad is None] == []


def test_stochastic_depth_acts_in_training_alone() -> None:
    """In evaluation two passes agree; in training, with a high drop path, they do not."""
    backbone = SwinBackbone(SwinConfig(patch_px=8, embed_dim=8, depths=(2, 2), num_heads=(1, 2), drop_path=0.9))
    images_BCHW = torch.randn(2, 3, 112, 112)
    backbone.eval()
    torch.testing.assert_close(backbone(images_BCHW)[-1], backbone(images_BCHW)[-1], rtol=0, atol=0)
    backbone.train()
    passes = torch.stack([backbone(images_BCHW)[-1] for _ in range(4)])
    assert not torch.equal(passes[0], passes[1])


def test_conv_stem_gives_a_patch_maps_tokens() -> None:
    """A stem of convolutions gives the grid and channels that the patch map of the same size gives."""
    images_BCHW = torch.randn(2, 3, 112, 112)
    config = SwinConfig(patch_px=8, embed_dim=8, depths=(1, 1), num_heads=(1, 2))
    shapes = [
        tuple(SwinBackbone(replace(config, stem=stem)).patch_embed(images_BCHW).shape) for stem in ("patch", "conv")
    ]
    assert shapes == [(2, 14, 14, 8)] * 2


def test_conv_stem_halves_by_convolutions_of_stride_2() -> None:
    """A stem for patches of 8 pixels holds three 3x3 convolutions of stride 2 that double the channels each time."""
    stem = ConvStem(SwinConfig(patch_px=8, embed_dim=16, depths=(1, 1), num_heads=(1, 2), stem="conv"))
    convs = [layer for layer in stem.convs if isinstance(layer, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, conv.stride[0]) for conv in convs] == [
        (3, 4, 2),
        (4, 8, 2),
        (8, 16, 2),
        (16, 16, 1),
    ]
    tokens_BHWC = stem(torch.randn(2, 3, 112, 112))
    torch.testing.assert_close(tokens_BHWC.mean(3), torch.zeros(2, 14, 14), atol=1e-5, rtol=0)


def test_stem_blocks_are_residual() -> None:
    """A block of the stem adds its two normed convolutions to what it was given, then takes the positive part."""
    block = ResidualBlock(4).eval()
    x_BCHW = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x_BCHW), torch.relu(x_BCHW + block.body(x_BCHW)))
    stem = ConvStem(SwinConfig(stem="conv", stem_blocks=2))
    assert sum(isinstance(layer, ResidualBlock) for layer in stem.convs) == 2


def test_absolute_position_tells_places_apart() -> None:
    """With it the same patch everywhere gives tokens that differ by place; without it they are all alike."""
    config = SwinConfig(patch_px=8, embed_dim=8, depths=(0, 1), num_heads=(1, 2), drop_path=0.0)
    images_BCHW = torch.full((1, 3, 112, 112), 0.5)
    plain = SwinBackbone(config).eval()(images_BCHW)[0]
    placed = SwinBackbone(replace(config, absolute_position=True)).eval()(images_BCHW)[0]
    torch.testing.assert_close(plain, plain[:, :, :1, :1].expand_as(plain))
    assert float(placed.detach().std((2, 3)).min()) > 1e-3


def test_a_stage_without_blocks_only_merges() -> None:
    """Where a stage's depth is 0 its map passes on as it came, and the later stages stand as configured."""
    config = SwinConfig(patch_px=8, embed_dim=8, depths=(1, 0, 2), num_heads=(1, 2, 4), window=2, side_px=64)
    backbone = SwinBackbone(config)
    assert [len(cast("SwinTransformerStage", stage).blocks) for stage in backbone.layers] == [1, 0, 2]
    assert [tuple(tap.shape[1:]) for tap in backbone(torch.zeros(1, 3, 64, 64))] == [(16, 4, 4), (32, 2, 2), (32, 2, 2)]
