"""Networks small enough to build and run in milliseconds. Never trained."""

from dataclasses import replace
from typing import Final

from model.config import NANO, FusionConfig, NetworkConfig, SwinConfig

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
)
