"""What a multi-task network is made of: frozen dataclasses that travel in the checkpoint as JSON; the known networks.

Holds numbers and names alone. Never builds a module (see `model.network`) and never imports torch.
"""

import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Final, Literal, cast, get_args, get_origin, get_type_hints

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, Task

# How many numbers each output layer gives. Every attribute is a pair of logits [no, yes], as in SwinFace.
OUTPUT_SIZES: Final[dict[str, int]] = {
    "age": 1,
    "gender": len(GENDERS),
    "expression": len(EXPRESSIONS),
    "race": len(RACES),
    **dict.fromkeys(ATTRIBUTES, 2),
}


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """A Swin Transformer (Liu et al. 2021, arXiv 2103.14030).

    Attributes:
        side_px: side of the square input.
        patch_px: side of a patch; the first token grid is `side_px / patch_px`, each later one half of the last.
        stem: how pixels become tokens: `patch` is Swin's one linear map a patch; `conv` is a stack of 3x3 convolutions
            of stride 2 (Xiao et al. 2021, arXiv 2106.14881), which learns from far fewer images.
        stem_blocks: residual blocks of two 3x3 convolutions that follow a `conv` stem, on the first token grid.
        absolute_position: add a learnt embedding to each first token. SwinFace has none; on aligned faces it tells an
            eye's place from a mouth's, which windows that share their weights cannot.
        embed_dim: channels of the first stage, doubled by each patch merging.
        depths: blocks a stage.
        num_heads: attention heads a stage.
        window: tokens on a side of an attention window.
        mlp_ratio: hidden width of a block's MLP over its channels.
        drop_path: stochastic depth of the last block; it grows linearly from 0.
    """

    side_px: int = 112
    patch_px: int = 2
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    mlp_ratio: float = 4.0
    drop_path: float = 0.1
    stem: Literal["patch", "conv"] = "patch"
    stem_blocks: int = 0
    absolute_position: bool = False

    def __post_init__(self) -> None:
        if self.stem not in ("patch", "conv"):
            raise ValueError(f"no stem is named {self.stem!r}")
        if self.stem == "conv" and self.patch_px & (self.patch_px - 1):
            raise ValueError("a stem of convolutions of stride 2 needs a patch_px that is a power of two")
        if self.stem_blocks and self.stem != "conv":
            raise ValueError("stem_blocks follow a conv stem alone")
        if len(self.depths) < 2 or len(self.depths) != len(self.num_heads):
            raise ValueError("depths and num_heads must name the same stages, two at least")
        if self.side_px % (self.patch_px * 2 ** (len(self.depths) - 1)):
            raise ValueError(f"side_px {self.side_px} must be divisible by the last stage's stride")
        if any(dim % heads for dim, heads in zip(self.dims, self.num_heads, strict=True)):
            raise ValueError("each stage's channels must be divisible by its num_heads")

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    @property
    def grids(self) -> tuple[int, ...]:
        """Tokens on a side, each stage."""
        return tuple(self.side_px // self.patch_px // 2**stage for stage in range(len(self.depths)))

    @property
    def tap_dims(self) -> tuple[int, ...]:
        """Channels of the tapped feature maps: after each patch merging, and after the last stage."""
        return (*self.dims[1:], self.dims[-1])


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How a task group makes one vector of the tapped feature maps (SwinFace, arXiv 2308.11509, section 3.2).

    Attributes:
        widths: output channels of each level's own 3x3 convolution, in the order of `BackboneConfig.tap_dims`.
        reduction: of the channel gate's shared MLP.
        pool: how the gated map becomes a vector.
    """

    widths: tuple[int, ...] = (47, 93, 186, 186)
    reduction: int = 16
    pool: Literal["max", "average"] = "max"

    @property
    def channels(self) -> int:
        """Channels of the fused map."""
        return sum(self.widths)


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """A task group: outputs that share one fusion and one trunk. Outputs are keys of `OUTPUT_SIZES`."""

    name: str
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A multi-task network.

    Attributes:
        backbone: shared by everything.
        fusion: each group's, alike in shape.
        groups: the task groups, in order.
        embedding_dim: length of the recognition subnet's embedding; None for a network without one.
        recognition_maps: 0 pools the last map by its mean, as SwinFace does; k > 0 by k learnt spatial weightings a
            channel (MobileFaceNet's global depthwise convolution, Chen et al. 2018, arXiv 1804.07573): on aligned faces
            where a feature stands says as much as what it is.
        fc_dim: width of a group's two fully connected layers.
        dropout: after each of them.
        batch_norm_eps: of every batch norm (SwinFace: 2e-5).
        age_offset_years: years = offset + scale * the age layer's output: an untrained head answers a likely age.
        age_scale_years: as above; 0 and 1 give the layer's own output, as SwinFace has it.
    """

    backbone: BackboneConfig
    fusion: FusionConfig
    groups: tuple[GroupConfig, ...]
    embedding_dim: int | None = 512
    recognition_maps: int = 0
    fc_dim: int = 512
    dropout: float = 0.5
    batch_norm_eps: float = 2e-5
    age_offset_years: float = 0.0
    age_scale_years: float = 1.0

    def __post_init__(self) -> None:
        names = self.outputs
        unknown = [name for name in names if name not in OUTPUT_SIZES]
        if unknown:
            raise ValueError(f"no output is named {unknown[0]!r}")
        if len(set(names)) != len(names):
            raise ValueError("an output may stand in one group only")
        if len({group.name for group in self.groups}) != len(self.groups):
            raise ValueError("two groups share a name")
        if len(self.fusion.widths) != len(self.backbone.tap_dims):
            raise ValueError(f"fusion.widths must name {len(self.backbone.tap_dims)} levels")
        missing = [name for name in ATTRIBUTES if name not in names and name != "male"]
        if missing and any(name in ATTRIBUTES for name in names):
            raise ValueError(f"attributes are all of CelebA's or none: {missing[0]!r} is missing")
        if not self.tasks:
            raise ValueError("a network needs an output")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output layer's name, group by group."""
        return tuple(name for group in self.groups for name in group.outputs)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the network answers. Attributes need the column `male`: its own output, else gender's."""
        names = self.outputs
        tasks: list[Task] = [] if self.embedding_dim is None else ["embedding"]
        plain: tuple[Task, ...] = ("expression", "age", "gender")
        tasks += [task for task in plain if task in names]
        if "young" in names and ("male" in names or "gender" in names):
            tasks.append("attributes")
        return tuple([*tasks, "race"] if "race" in names else tasks)

    def to_json(self) -> str:
        """The configuration as JSON text that `from_json` reads back as an equal one."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "NetworkConfig":
        """Reads a configuration.

        Raises:
            ValueError: if the text is not JSON, names an unknown field, lacks one, or breaks an invariant.
        """
        return cast("NetworkConfig", _build(cls, json.loads(text)))


def _build(kind: object, value: object) -> object:
    """A value of the annotated kind from what JSON holds; dataclasses and tuples are built recursively."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, dict):
            raise ValueError(f"{kind.__name__} must be a JSON object")
        unknown = set(value) - {field.name for field in fields(kind)}
        if unknown:
            raise ValueError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}")
        try:
            return kind(**{name: _build(hints[name], item) for name, item in value.items()})
        except TypeError as error:
            raise ValueError(f"{kind.__name__}: {error}") from error
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"expected a JSON array, not {value!r}")
        return tuple(_build(get_args(kind)[0], item) for item in value)
    return value


# SwinFace as published (arXiv 2308.11509; github.com/lxq1000/SwinFace, MIT): 67.8 M parameters, 12.2 GFLOP a face.
SWINFACE: Final = NetworkConfig(
    backbone=BackboneConfig(),
    fusion=FusionConfig(),
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

# The network that ships: what a processor core can train in an hour and answer in some ten milliseconds. Convolutions
# stand in for the first stage's blocks: on its 28 x 28 tokens they are faster and learn from fewer faces.
NANO: Final = NetworkConfig(
    backbone=BackboneConfig(
        patch_px=4,
        embed_dim=64,
        depths=(0, 2, 2),
        num_heads=(2, 4, 8),
        drop_path=0.0,
        stem="conv",
        stem_blocks=2,
        absolute_position=True,
    ),
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
    dropout=0.0,
    age_offset_years=33.0,
    age_scale_years=20.0,
)
