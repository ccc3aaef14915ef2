"""What a multi-task network is made of beside its trunk, and the whole as JSON.

Holds numbers and names alone. Never builds a module (see `model.network`) and never imports torch.
"""

import json
import types
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, Task
from model.trunk_config import BackboneConfig

# How many numbers each output layer gives where age is in years and every attribute a pair of logits [no, yes], as in
# SwinFace; `NetworkConfig.output_size` knows the other forms.
OUTPUT_SIZES: Final[dict[str, int]] = {
    "age": 1,
    "gender": len(GENDERS),
    "expression": len(EXPRESSIONS),
    "race": len(RACES),
    **dict.fromkeys(ATTRIBUTES, 2),
}
# The key of a fusion that all groups share, beside which the groups' own keys stand.
SHARED_FUSION: Final = "shared_fusion"

Head = Literal["fusion", "context", "embedding"]
RecognitionKind = Literal["pooled", "flat"]
Pixels = Literal["symmetric", "imagenet"]
AgeForm = Literal["years", "ordinal", "distribution"]


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise ValueError(f"no {name} is named {value!r}")


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How a task group makes one vector of the tapped feature maps (SwinFace, arXiv 2308.11509, section 3.2).

    Attributes:
        widths: output channels of each chosen level's own 3x3 convolution, in the order of `tap_dims`; with the mode
            `normal` a single number, the one convolution's.
        reduction: of the channel gate's shared MLP.
        pool: how the gated map becomes a vector.
        mode: `split` convolves each level by itself, `normal` all of them, concatenated, at once.
        shared: one fusion for all groups in place of one a group.
        channel_attention: CBAM's channel gate.
        spatial_attention: none, CBAM's 7x7 gate, or local attention networks (LANets, Xue et al. 2021, arXiv
            2108.11116) whose largest answer scales each place.
        lanet_branches: LANets a group: one number for every group, or one number a group.
        lanet_dropout: in training, the probability that one LANet of a face, drawn at random, answers 0.
        features: the levels that are fused: `local` is all but the last, `global` the last alone.
    """

    widths: tuple[int, ...] = (47, 93, 186, 186)
    reduction: int = 16
    pool: Literal["max", "average"] = "max"
    mode: Literal["split", "normal"] = "split"
    shared: bool = False
    channel_attention: bool = True
    spatial_attention: Literal["cbam", "lanet"] | None = None
    lanet_branches: tuple[int, ...] = (2,)
    lanet_dropout: float = 0.6
    features: Literal["all", "local", "global"] = "all"

    def __post_init__(self) -> None:
        _check_choice("pool", self.pool, ("max", "average"))
        _check_choice("mode", self.mode, ("split", "normal"))
        _check_choice("spatial_attention", self.spatial_attention, (None, "cbam", "lanet"))
        _check_choice("features", self.features, ("all", "local", "global"))
        if not 0 <= self.lanet_dropout <= 1:
            raise ValueError("lanet_dropout is a probability")
        if not self.lanet_branches or min(self.lanet_branches) < 1:
            raise ValueError("lanet_branches must be one at least")

    @property
    def channels(self) -> int:
        """Channels of the fused map."""
        return sum(self.widths)

    @property
    def levels(self) -> slice:
        """Which of the tapped maps are fused."""
        return {"all": slice(None), "local": slice(None, -1), "global": slice(-1, None)}[self.features]

    def num_branches(self, group: int) -> int:
        """LANets of the group with this index."""
        return self.lanet_branches[group] if len(self.lanet_branches) > 1 else self.lanet_branches[0]


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """A task group: outputs that share one head. Outputs are keys of `OUTPUT_SIZES`."""

    name: str
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Temperatures:
    """What a task's logits are divided by before they become probabilities, so that these mean what they say.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599): fitted on validation rows after the training, it leaves the
    likeliest answer what it was. One number a task; of `attributes` one for all forty or one each.
    """

    expression: tuple[float, ...] = (1.0,)
    gender: tuple[float, ...] = (1.0,)
    attributes: tuple[float, ...] = (1.0,)
    race: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for task, values in asdict(self).items():
            if not values or min(values) <= 0 or max(values) == float("inf"):
                raise ValueError(f"temperatures.{task} must be over 0 and finite")
            if len(values) not in ((1, len(ATTRIBUTES)) if task == "attributes" else (1,)):
                raise ValueError(f"temperatures.{task} cannot be {len(values)} numbers")

    def of(self, task: Task) -> tuple[float, ...]:
        """A task's; 1 of a task that answers no probabilities."""
        return cast("tuple[float, ...]", getattr(self, task, (1.0,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """A multi-task network: a trunk, a recognition subnet, and a head that answers the task groups.

    Attributes:
        backbone: the trunk, shared by everything.
        head: `fusion` gives each group SwinFace's fusion, attention and two fully connected layers; `context` is
            FAER's contextual channel attention, pooled, normed, and one linear layer for the one group; `embedding` is
            one linear layer an output on the L2-normalised embedding, as in face_analysis_pytorch.
        fusion: each group's, alike in shape; of the head `fusion` alone.
        groups: the task groups, in order.
        embedding_dim: length of the recognition subnet's embedding; None for a network without one.
        recognition: `pooled` is SwinFace's subnet (norm, pool, linear, batch norm, linear, batch norm); `flat` is IR's
            (batch norm, dropout, flatten, linear, batch norm).
        recognition_dropout: of the subnet `flat`.
        recognition_maps: of the subnet `pooled`: 0 pools the last map by its mean, as SwinFace does; k > 0 by k learnt
            spatial weightings a channel (MobileFaceNet's global depthwise convolution, Chen et al. 2018, arXiv
            1804.07573): on aligned faces where a feature stands says as much as what it is.
        answers_embedding: False for a network whose embedding only feeds its own heads and tells nobody apart.
        fc_dim: width of a fusion group's two fully connected layers.
        dropout: after each of them.
        batch_norm_eps: of every batch norm (SwinFace: 2e-5).
        linear_std: what the linear layers behind the trunk start from: a truncated normal of this deviation, biases 0
            (SwinFace: 0.02); None is PyTorch's own.
        age_offset_years: years = offset + scale * the age layer's output: an untrained head answers a likely age.
        age_scale_years: as above; 0 and 1 give the layer's own output, as SwinFace has it.
        age_form: `years` is one number; `ordinal` is a logit a rank, rank k asking whether the face is older than k
            (Niu et al. 2016, CVPR): the age is how many say yes; `distribution` is a logit a year from 0 on: the age is
            the softmax's expectation (Rothe et al. 2018, IJCV, "DEX").
        num_age_ranks: of the form `ordinal`; of `distribution`, how many years.
        attribute_form: `pairs` of logits [no, yes], or a `single` logit of yes, an attribute.
        pixels: how the images are normalised: `symmetric` is (x / 255 - 0.5) / 0.5, `imagenet` its mean and deviation.
        temperatures: what the logits are divided by for an answer (see `model.analyzer`); no part of the training.
    """

    backbone: BackboneConfig
    fusion: FusionConfig = FusionConfig()
    groups: tuple[GroupConfig, ...]
    embedding_dim: int | None = 512
    recognition_maps: int = 0
    fc_dim: int = 512
    dropout: float = 0.5
    batch_norm_eps: float = 2e-5
    age_offset_years: float = 0.0
    age_scale_years: float = 1.0
    head: Head = "fusion"
    recognition: RecognitionKind = "pooled"
    recognition_dropout: float = 0.4
    answers_embedding: bool = True
    age_form: AgeForm = "years"
    num_age_ranks: int = 100
    attribute_form: Literal["pairs", "single"] = "pairs"
    pixels: Pixels = "symmetric"
    linear_std: float | None = None
    temperatures: Temperatures = Temperatures()

    def __post_init__(self) -> None:
        _check_choice("head", self.head, get_args(Head))
        _check_choice("recognition", self.recognition, get_args(RecognitionKind))
        _check_choice("age_form", self.age_form, get_args(AgeForm))
        _check_choice("attribute_form", self.attribute_form, ("pairs", "single"))
        _check_choice("pixels", self.pixels, get_args(Pixels))
        self._check_outputs()
        self._check_head()
        if not self.tasks:
            raise ValueError("a network needs an output")

    def _check_outputs(self) -> None:
        names = self.outputs
        unknown = [name for name in names if name not in OUTPUT_SIZES]
        if unknown:
            raise ValueError(f"no output is named {unknown[0]!r}")
        if len(set(names)) != len(names):
            raise ValueError("an output may stand in one group only")
        if len({group.name for group in self.groups}) != len(self.groups):
            raise ValueError("two groups share a name")
        missing = [name for name in ATTRIBUTES if name not in names and name != "male"]
        if missing and any(name in ATTRIBUTES for name in names):
            raise ValueError(f"attributes are all of CelebA's or none: {missing[0]!r} is missing")

    def _check_head(self) -> None:
        if self.head == "context" and len(self.groups) != 1:
            raise ValueError("the head 'context' answers one group")
        if self.head == "embedding" and self.embedding_dim is None:
            raise ValueError("the head 'embedding' needs an embedding_dim")
        if self.head == "fusion" and self.groups:
            self._check_fusion()

    def _check_fusion(self) -> None:
        num_levels = 1 if self.fusion.mode == "normal" else len(self.backbone.tap_dims[self.fusion.levels])
        if len(self.fusion.widths) != num_levels:
            raise ValueError(f"fusion.widths must name {num_levels} level{'s' * (num_levels > 1)}")
        if len(self.fusion.lanet_branches) not in (1, len(self.groups)):
            raise ValueError("fusion.lanet_branches must be one number, or one a group")
        if any(group.name == SHARED_FUSION for group in self.groups):
            raise ValueError(f"no group may be named {SHARED_FUSION!r}")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output layer's name, group by group."""
        return tuple(name for group in self.groups for name in group.outputs)

    def output_size(self, name: str) -> int:
        """How many numbers the output layer of this name gives."""
        if name == "age":
            return 1 if self.age_form == "years" else self.num_age_ranks
        if name in ATTRIBUTES and self.attribute_form == "single":
            return 1
        return OUTPUT_SIZES[name]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the network answers. Attributes need the column `male`: its own output, else gender's."""
        names = self.outputs
        tasks: list[Task] = ["embedding"] if self.embedding_dim is not None and self.answers_embedding else []
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
        return _build_dataclass(kind, value)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"expected a JSON array, not {value!r}")
        return tuple(_build(get_args(kind)[0], item) for item in value)
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if isinstance(member, type) and is_dataclass(member)]
        return _build(_member(members, value), value) if members else value
    return value


def _build_dataclass(kind: type, value: object) -> object:
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


def _member(members: Sequence[type], value: object) -> type:
    """The dataclass whose field `kind` has the default that the JSON object names; without one, the first."""
    if not isinstance(value, dict) or "kind" not in value:
        return members[0]
    for member in members:
        if value["kind"] == next(field.default for field in fields(member) if field.name == "kind"):
            return member
    raise ValueError(f"no trunk is of kind {value['kind']!r}")
