"""Networks small enough to build and run in milliseconds. Never trained."""

from dataclasses import replace
from typing import Final, Literal

from model.config import (
    FAER_ATTRIBUTES,
    FAER_EXPRESSION,
    NANO,
    SWINFACE,
    ConvNeXtConfig,
    FusionConfig,
    IResNetConfig,
    NetworkConfig,
    SwinConfig,
    iresnet,
)

TINY_TRUNK: Final = SwinConfig(
    patch_px=8,
    embed_dim=8,
    depths=(1, 2),
    num_heads=(1, 2),
    drop_path=0.1,
    stem="conv",
    stem_blocks=1,
    absolute_position=True,
)

# Every task of the shipped network.
TINY: Final[NetworkConfig] = replace(
    NANO,
    backbone=TINY_TRUNK,
    fusion=FusionConfig(widths=(4, 4), reduction=2),
    embedding_dim=16,
    recognition_maps=2,
    fc_dim=8,
    dropout=0.1,
    age_form="years",
    num_age_ranks=100,
    age_offset_years=33.0,
    age_scale_years=20.0,
)

# The published networks at a size that a test can train: the same parts, a few channels.
SMALL_SWINFACE: Final = replace(
    SWINFACE,
    backbone=SwinConfig(side_px=56, embed_dim=8, depths=(1, 2, 2), num_heads=(1, 2, 4)),
    fusion=FusionConfig(widths=(4, 6, 6), reduction=4),
    embedding_dim=12,
    fc_dim=16,
)
SMALL_CONVNEXT: Final = ConvNeXtConfig(side_px=64, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
SMALL_FAER_ATTRIBUTES: Final = replace(FAER_ATTRIBUTES, backbone=SMALL_CONVNEXT)
SMALL_FAER_EXPRESSION: Final = replace(FAER_EXPRESSION, backbone=SMALL_CONVNEXT)


def small_iresnet(
    squeeze_excitation: bool = False, task: Literal["embedding", "age", "gender", "race"] = "embedding"
) -> NetworkConfig:
    """A network of face_analysis_pytorch, two stages deep."""
    trunk = IResNetConfig(side_px=32, units=(1, 2), widths=(8, 16), squeeze_excitation=squeeze_excitation, reduction=4)
    return replace(iresnet(50, squeeze_excitation, task), backbone=trunk, embedding_dim=12)


SMALL: Final[dict[str, NetworkConfig]] = {
    "swinface": SMALL_SWINFACE,
    "faer attributes": SMALL_FAER_ATTRIBUTES,
    "faer expression": SMALL_FAER_EXPRESSION,
    "ir": small_iresnet(),
    "ir-se": small_iresnet(squeeze_excitation=True),
    "ir age": small_iresnet(task="age"),
    "ir-se gender": small_iresnet(squeeze_excitation=True, task="gender"),
    "ir race": small_iresnet(task="race"),
}
# Every published way from feature maps to a group's descriptor.
FUSIONS: Final[dict[str, FusionConfig]] = {
    "split": FusionConfig(widths=(4, 6, 6), reduction=4),
    "normal": FusionConfig(widths=(16,), reduction=4, mode="normal"),
    "shared split": FusionConfig(widths=(4, 6, 6), reduction=4, shared=True),
    "shared normal": FusionConfig(widths=(16,), reduction=4, mode="normal", shared=True),
    "no attention": FusionConfig(widths=(4, 6, 6), channel_attention=False),
    "cbam": FusionConfig(widths=(4, 6, 6), reduction=4, spatial_attention="cbam"),
    "lanet": FusionConfig(widths=(4, 6, 6), reduction=4, spatial_attention="lanet", lanet_branches=(3,)),
    "a lanet a group": FusionConfig(
        widths=(4, 6, 6), spatial_attention="lanet", lanet_branches=(1, 2, 3, 2, 2, 2, 2, 2, 2, 2, 4)
    ),
    "average": FusionConfig(widths=(4, 6, 6), reduction=4, pool="average"),
    "local": FusionConfig(widths=(8, 8), reduction=4, features="local"),
    "global": FusionConfig(widths=(16,), reduction=4, mode="normal", features="global"),
}
