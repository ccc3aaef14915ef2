"""The known networks, and every class that a configuration is made of.

Holds the published networks' numbers and the shipped one's. Never builds a module (see `model.network`) and never
imports torch.
"""

from dataclasses import replace
from typing import Final, Literal

from model.network_config import OUTPUT_SIZES, FusionConfig, GroupConfig, Head, NetworkConfig, Pixels, RecognitionKind
from model.runtime.labels import ATTRIBUTES
from model.trunk_config import BackboneConfig, ConvNeXtConfig, IResNetConfig, SwinConfig

__all__ = [
    "FAER_ATTRIBUTES",
    "FAER_EXPRESSION",
    "NANO",
    "OUTPUT_SIZES",
    "SWINFACE",
    "TMLFA",
    "WIDE",
    "BackboneConfig",
    "ConvNeXtConfig",
    "FusionConfig",
    "GroupConfig",
    "Head",
    "IResNetConfig",
    "NetworkConfig",
    "Pixels",
    "RecognitionKind",
    "SwinConfig",
    "iresnet",
]

# SwinFace as published (arXiv 2308.11509; github.com/lxq1000/SwinFace, MIT): 67.8 M parameters, 12.2 GFLOP a face.
SWINFACE: Final = NetworkConfig(
    backbone=SwinConfig(),
    fusion=FusionConfig(),
    linear_std=0.02,
    groups=(
        GroupConfig("gender", ("gender",)),
        GroupConfig("age", ("age", "young")),
        GroupConfig("expression", ("expression", "smiling")),
        GroupConfig("whole_face", ("attractive", "blurry", "chubby", "heavy_makeup", "oval_face", "pale_skin")),
        GroupConfig(
            "hair",
            (
                *("bald", "bangs", "black_hair", "blond_hair", "brown_hair", "gray_hair"),
                *("receding_hairline", "straight_hair", "wavy_hair", "wearing_hat"),
            ),
        ),
        GroupConfig("eyes", ("arched_eyebrows", "bags_under_eyes", "bushy_eyebrows", "eyeglasses", "narrow_eyes")),
        GroupConfig("nose", ("big_nose", "pointy_nose")),
        GroupConfig("cheeks", ("high_cheekbones", "rosy_cheeks", "wearing_earrings", "sideburns")),
        GroupConfig(
            "mouth",
            ("5_o_clock_shadow", "big_lips", "mouth_slightly_open", "mustache", "wearing_lipstick", "no_beard"),
        ),
        GroupConfig("chin", ("double_chin", "goatee")),
        GroupConfig("neck", ("wearing_necklace", "wearing_necktie")),
    ),
)

# Convolutions stand in for the first stage's blocks and go before the later ones': they are faster and learn from fewer
# faces.
_NANO_BACKBONE: Final = SwinConfig(
    patch_px=4,
    embed_dim=64,
    depths=(0, 1, 1),
    num_heads=(2, 4, 8),
    drop_path=0.05,
    stem="conv",
    stem_blocks=2,
    absolute_position=True,
    conv_depths=(0, 3, 1),
)

# The network that ships: what a GPU trains in minutes, and a processor core answers in some seven milliseconds.
NANO: Final = NetworkConfig(
    backbone=_NANO_BACKBONE,
    fusion=FusionConfig(widths=(16, 24, 24), reduction=8),
    groups=(
        GroupConfig("demographic", ("age", "gender", "race", "young", "male")),
        GroupConfig("expression", ("expression", "smiling", "mouth_slightly_open", "high_cheekbones", "narrow_eyes")),
        GroupConfig(
            "hair",
            (
                *("bald", "bangs", "black_hair", "blond_hair", "brown_hair", "gray_hair"),
                *("receding_hairline", "straight_hair", "wavy_hair", "wearing_hat", "eyeglasses"),
            ),
        ),
        GroupConfig(
            "features",
            (
                *("arched_eyebrows", "attractive", "bags_under_eyes", "big_lips", "big_nose", "blurry"),
                *("bushy_eyebrows", "chubby", "double_chin", "oval_face", "pale_skin", "pointy_nose", "rosy_cheeks"),
            ),
        ),
        GroupConfig(
            "adornment",
            (
                *("5_o_clock_shadow", "goatee", "mustache", "no_beard", "sideburns", "heavy_makeup"),
                *("wearing_earrings", "wearing_lipstick", "wearing_necklace", "wearing_necktie"),
            ),
        ),
    ),
    recognition_maps=4,
    fc_dim=128,
    dropout=0.2,
    age_form="distribution",
    num_age_ranks=101,
)

# Nano's teacher: the same at twice the width and twice the blocks. A GPU trains it in a few minutes.
WIDE: Final = replace(
    NANO,
    backbone=replace(_NANO_BACKBONE, embed_dim=128, depths=(0, 2, 2), num_heads=(4, 8, 16), drop_path=0.1),
    fusion=FusionConfig(widths=(32, 48, 48), reduction=8),
    fc_dim=256,
    dropout=0.3,
)

# TMLFA is the same network by function; its checkpoints name the output layers otherwise (see `model.published`).
TMLFA: Final = SWINFACE

# FAER's two networks: ConvNeXt-Base at 224 pixels, contextual channel attention, 40 attributes or seven expressions:
# 101.8 and 101.7 M parameters, 32.1 GFLOP a face.
FAER_ATTRIBUTES: Final = NetworkConfig(
    backbone=ConvNeXtConfig(),
    head="context",
    groups=(GroupConfig("attributes", ATTRIBUTES),),
    embedding_dim=None,
    attribute_form="single",
    pixels="imagenet",
    linear_std=0.02,
)
FAER_EXPRESSION: Final = NetworkConfig(
    backbone=ConvNeXtConfig(),
    head="context",
    groups=(GroupConfig("expression", ("expression",)),),
    embedding_dim=None,
    pixels="imagenet",
    linear_std=0.02,
)

# Residual units a stage of face_analysis_pytorch's trunks (MIT), by depth.
_IRESNET_UNITS: Final = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}


def iresnet(
    depth: Literal[50, 100, 152],
    squeeze_excitation: bool = False,
    task: Literal["embedding", "age", "gender", "race"] = "embedding",
) -> NetworkConfig:
    """A network of face_analysis_pytorch: an IR or IR-SE ResNet at 112 pixels that recognises, or answers one task.

    Parameters and operations (multiply and add counted) a face: IR-50 43.6 M and 12.6 GFLOP, IR-100 65.2 M and 24.2,
    IR-152 70.8 M and 24.6; IR-SE-50 43.8 M, IR-SE-100 65.5 M, IR-SE-152 71.2 M, at the same operations.

    Args:
        depth: of the trunk.
        squeeze_excitation: IR-SE in place of IR.
        task: `embedding` answers that alone; the others answer theirs from the normalised embedding and keep it to
            themselves: age as 100 ordinal ranks, gender and race as classes.
    """
    return NetworkConfig(
        backbone=IResNetConfig(units=_IRESNET_UNITS[depth], squeeze_excitation=squeeze_excitation),
        head="embedding",
        groups=() if task == "embedding" else (GroupConfig(task, (task,)),),
        recognition="flat",
        answers_embedding=task == "embedding",
        age_form="ordinal",
        batch_norm_eps=1e-5,
    )
