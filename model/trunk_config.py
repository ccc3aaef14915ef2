"""What a trunk is made of: one frozen dataclass a kind, each of which travels in the checkpoint as JSON.

Holds numbers and names alone. Never builds a module (see `model.trunks`) and never imports torch.

Every kind has a field `kind` whose default is its name, `side_px`, and the properties `dims` (channels of each stage),
`grids` (places on a side, each stage) and `tap_dims` (channels of the feature maps that the trunk gives).
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class SwinConfig:
    """A Swin Transformer (Liu et al. 2021, arXiv 2103.14030).

    Attributes:
        kind: names this trunk; a file without one means this kind.
        side_px: side of the square input.
        patch_px: side of a patch; the first token grid is `side_px / patch_px`, each later one half of the last.
        stem: how pixels become tokens: `patch` is Swin's one linear map a patch; `conv` is a stack of 3x3 convolutions
            of stride 2 (Xiao et al. 2021, arXiv 2106.14881), which learns from far fewer images.
        stem_blocks: residual blocks of two 3x3 convolutions that follow a `conv` stem, on the first token grid.
        conv_depths: such blocks a stage, after its patch merging and before its windows; none where it is empty. Early
            convolutions learn from fewer images, late attention sees the whole face (Dai et al. 2021, arXiv
            2106.04803).
        absolute_position: add a learnt embedding to each first token. SwinFace has none; on aligned faces it tells an
            eye's place from a mouth's, which windows that share their weights cannot.
        embed_dim: channels of the first stage, doubled by each patch merging.
        depths: blocks a stage.
        num_heads: attention heads a stage.
        window: tokens on a side of an attention window.
        mlp_ratio: hidden width of a block's MLP over its channels.
        drop_path: stochastic depth of the last block; it grows linearly from 0.
    """

    kind: Literal["swin"] = "swin"
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
    conv_depths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_kind(self.kind, "swin")
        if self.stem not in ("patch", "conv"):
            raise ValueError(f"no stem is named {self.stem!r}")
        if self.stem == "conv" and self.patch_px & (self.patch_px - 1):
            raise ValueError("a stem of convolutions of stride 2 needs a patch_px that is a power of two")
        if self.stem_blocks and self.stem != "conv":
            raise ValueError("stem_blocks follow a conv stem alone")
        if len(self.depths) < 2 or len(self.depths) != len(self.num_heads):
            raise ValueError("depths and num_heads must name the same stages, two at least")
        if self.conv_depths and len(self.conv_depths) != len(self.depths):
            raise ValueError("conv_depths must name the stages that depths names, or none")
        _check_stride(self.side_px, self.patch_px * 2 ** (len(self.depths) - 1))
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
class ConvNeXtConfig:
    """A ConvNeXt (Liu et al. 2022, arXiv 2201.03545); the defaults are ConvNeXt-Base as FAER uses it.

    Attributes:
        kind: names this trunk.
        side_px: side of the square input.
        depths: blocks a stage.
        dims: channels a stage. The stem divides the side by 4, each later stage by 2.
        drop_path: stochastic depth of the last block; it grows linearly from 0.
        layer_scale: what each block's learnt scale of its channels starts from.
    """

    kind: Literal["convnext"] = "convnext"
    side_px: int = 224
    depths: tuple[int, ...] = (3, 3, 27, 3)
    dims: tuple[int, ...] = (128, 256, 512, 1024)
    drop_path: float = 0.25
    layer_scale: float = 1e-6

    def __post_init__(self) -> None:
        _check_kind(self.kind, "convnext")
        _check_stages(self.depths, self.dims, "depths and dims")
        _check_stride(self.side_px, 4 * 2 ** (len(self.depths) - 1))

    @property
    def grids(self) -> tuple[int, ...]:
        """Places on a side, each stage."""
        return tuple(self.side_px // 4 // 2**stage for stage in range(len(self.depths)))

    @property
    def tap_dims(self) -> tuple[int, ...]:
        """Channels of the tapped feature maps, one after each stage."""
        return self.dims


@dataclass(frozen=True, slots=True)
class IResNetConfig:
    """An improved-residual ResNet, "IR" or "IR-SE" (Deng et al. 2019, arXiv 1801.07698); the defaults are IR-50.

    Attributes:
        kind: names this trunk.
        side_px: side of the square input; each stage halves it.
        units: residual units a stage.
        widths: channels a stage; the first one's are the stem's, too.
        squeeze_excitation: close each unit with a channel gate (Hu et al. 2018, arXiv 1709.01507): "IR-SE".
        reduction: of that gate's hidden channels.
    """

    kind: Literal["iresnet"] = "iresnet"
    side_px: int = 112
    units: tuple[int, ...] = (3, 4, 14, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    squeeze_excitation: bool = False
    reduction: int = 16

    def __post_init__(self) -> None:
        _check_kind(self.kind, "iresnet")
        _check_stages(self.units, self.widths, "units and widths")
        _check_stride(self.side_px, 2 ** len(self.units))

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return self.widths

    @property
    def grids(self) -> tuple[int, ...]:
        """Places on a side, each stage."""
        return tuple(self.side_px // 2 ** (stage + 1) for stage in range(len(self.units)))

    @property
    def tap_dims(self) -> tuple[int, ...]:
        """Channels of the tapped feature maps, one after each stage."""
        return self.widths


# Another trunk is one more member here and one line in `model.trunks`.
BackboneConfig: TypeAlias = SwinConfig | ConvNeXtConfig | IResNetConfig


def _check_kind(kind: str, own: str) -> None:
    if kind != own:
        raise ValueError(f"this trunk is of kind {own!r}, not {kind!r}")


def _check_stages(units: tuple[int, ...], widths: tuple[int, ...], names: str) -> None:
    if not units or len(units) != len(widths) or min(units) < 1:
        raise ValueError(f"{names} must name the same stages, each of one unit at least")


def _check_stride(side_px: int, stride: int) -> None:
    if side_px % stride:
        raise ValueError(f"side_px {side_px} must be divisible by the last stage's stride")
