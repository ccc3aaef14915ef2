"""The detector network: an SCRFD-format face detector of separable convolutions, with a path-aggregating neck.

Holds the torch modules alone: images in, scores, boxes and key points of every anchor out. Never decodes them into
faces (see `model.runtime.detection`) and never trains (see `model.training.detection`).
Shape suffixes: B batch; C channels; H, W height and width; A anchors, row by row of cells, two a cell.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.detector.config import ANCHOR_SIDES_PX, NUM_ANCHORS, STRIDES, DetectorConfig

_PRIOR = 0.01  # an untrained anchor's score (focal loss, Lin et al. 2017, section 4.1)
_MAX_LOG_SIZE = 4.0  # a box is at most e^4 times its anchor: keeps an untrained network's exponent finite
_LANDMARK_KERNEL = 5  # pixels of a level; at stride 32 eyes and mouth lie several cells from the centre that answers
NUM_LANDMARKS = 5


def _convolution(width_in: int, width_out: int, side: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width_in, width_out, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width_out), nn.ReLU())


class SeparableBlock(nn.Module):
    """A depthwise and a pointwise convolution, with a shortcut where the shape stays (Howard et al. 2017)."""

    def __init__(self, width_in: int, width_out: int, stride: int = 1, side: int = 3) -> None:
        super().__init__()
        self.depthwise = _convolution(width_in, width_in, side, stride, groups=width_in)
        self.pointwise = _convolution(width_in, width_out, 1)
        self.shortcut = stride == 1 and width_in == width_out

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, width_out, H / stride, W / stride)."""
        mapped: Tensor = self.pointwise(self.depthwise(features_BCHW))
        return mapped + features_BCHW if self.shortcut else mapped


class LevelBlock(nn.Module):
    """A separable block with a shortcut whose convolutions serve all levels, and whose norms serve one each.

    While it trains a norm sees one level at a time; in service one that is shared would know the levels' mean alone.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.depthwise_norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in STRIDES)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.pointwise_norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in STRIDES)

    def forward(self, features_BCHW: Tensor, level: int) -> Tensor:
        """Maps (B, C, H, W) of a level, 0 for the finest, to the same shape."""
        seen = functional.relu(self.depthwise_norms[level](self.depthwise(features_BCHW)))
        mapped = functional.relu(self.pointwise_norms[level](self.pointwise(seen)))
        return features_BCHW + mapped


class Backbone(nn.Module):
    """Stem and four stages; gives the features at strides 8, 16 and 32."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.stem = _convolution(3, config.stem_width, 3, stride=2)
        self.stages = nn.ModuleList()
        width = config.stem_width
        for width_out, depth in zip(config.widths, config.depths, strict=True):
            blocks = [SeparableBlock(width, width_out, stride=2)]
            blocks += [SeparableBlock(width_out, width_out) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            width = width_out

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Maps images (B, 3, H, W) to three maps, finest first."""
        features, levels = self.stem(images_BCHW), []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels[1:]


class Neck(nn.Module):
    """Path aggregation: coarse features added to finer ones, and back again (PANet, Liu et al. 2018)."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        width = config.neck_width
        self.laterals = nn.ModuleList(_convolution(each, width, 1) for each in config.widths[1:])
        self.down = nn.ModuleList(SeparableBlock(width, width) for _ in STRIDES[1:])
        self.up = nn.ModuleList(SeparableBlock(width, width, stride=2) for _ in STRIDES[1:])

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Maps three maps, finest first, to three of one width."""
        maps = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        for index in reversed(range(len(maps) - 1)):
            coarser = functional.interpolate(maps[index + 1], scale_factor=2.0, mode="nearest")
            maps[index] = self.down[index](maps[index] + coarser)
        for index in range(1, len(maps)):
            maps[index] = maps[index] + self.up[index - 1](maps[index - 1])
        return maps


class LandmarkHead(nn.Module):
    """What one level's own blocks add to its key points, from the neck's features and not those of the shared head."""

    def __init__(self, width_in: int, width: int, depth: int, finer: bool) -> None:
        super().__init__()
        blocks = [SeparableBlock(width_in, width, side=_LANDMARK_KERNEL)]
        blocks += [SeparableBlock(width, width, side=_LANDMARK_KERNEL) for _ in range(depth - 1)]
        self.tower = nn.Sequential(*blocks)
        self.finer = _halved(width_in, width) if finer else None
        self.landmarks = _answer(width, NUM_ANCHORS * NUM_LANDMARKS * 2)

    def forward(self, features_BCHW: Tensor, finer_BCHW: Tensor | None) -> Tensor:
        """Maps (B, C, H, W), and the next finer level's (B, C, 2 H, 2 W) where there is one, to (B, 20, H, W)."""
        seen = self.tower[0](features_BCHW)
        if self.finer is not None and finer_BCHW is not None:
            seen = seen + self.finer(finer_BCHW)
        answered: Tensor = self.landmarks(self.tower[1:](seen))
        return answered


def _halved(width_in: int, width: int) -> nn.Sequential:
    """A separable convolution of stride 2 that adds nothing at first, so that a trained head goes on as it was."""
    norm = nn.BatchNorm2d(width)
    nn.init.zeros_(norm.weight)
    depthwise = _convolution(width_in, width_in, _LANDMARK_KERNEL, stride=2, groups=width_in)
    return nn.Sequential(depthwise, nn.Conv2d(width_in, width, 1, bias=False), norm)


class Head(nn.Module):
    """Scores, boxes and key points of one level; the same weights serve all levels, but for key points' own blocks."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        width = config.neck_width
        self.level_norms = config.level_norms
        blocks = (
            LevelBlock(width) if config.level_norms else SeparableBlock(width, width) for _ in range(config.head_depth)
        )
        self.tower = nn.Sequential(*blocks)
        self.score = _answer(width, NUM_ANCHORS)
        self.box = _answer(width, NUM_ANCHORS * 4)
        nn.init.constant_(self.score.bias, math.log(_PRIOR / (1 - _PRIOR)))  # type: ignore[arg-type]  # it has one
        self.landmarks = _answer(width, NUM_ANCHORS * NUM_LANDMARKS * 2)
        self.landmark_heads = nn.ModuleList(
            LandmarkHead(width, each, config.landmark_depth, config.landmark_finer and level > 0)
            for level, each in enumerate(config.landmark_widths)
            if config.landmark_depth
        )

    def forward(self, maps: list[Tensor], level: int, half_C11: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answers one level: score logits, logarithms of box sides, and key points in strides.

        Args:
            maps: the neck's (B, C, H, W), finest first.
            level: which, 0 for the finest.
            half_C11: what key points are multiplied by, a channel's anchor's half side.

        Returns:
            Maps (B, 2, H, W), (B, 8, H, W), (B, 20, H, W), of two anchors a cell.
        """
        features = maps[level]
        for block in self.tower:
            features = block(features, level) if self.level_norms else block(features)
        # Each convolution by itself: a graph then multiplies its weights when it is loaded, and nothing when it runs.
        landmarks = self.landmarks(features) * half_C11
        if self.landmark_heads:
            finer = maps[level - 1] if level else None
            landmarks = landmarks + self.landmark_heads[level](maps[level], finer) * half_C11
        return self.score(features), self.box(features), landmarks


def _answer(width: int, width_out: int) -> nn.Conv2d:
    layer = nn.Conv2d(width, width_out, 1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return layer


def _by_anchor(answer_BCHW: Tensor, width: int) -> Tensor:
    flat: Tensor = answer_BCHW.permute(0, 2, 3, 1).flatten(1)
    return flat.unflatten(1, (-1, width))  # type: ignore[no-any-return]  # torch leaves it untyped


def _by_channel(value_A: Tensor, width: int) -> Tensor:
    """A number an anchor as (C, 1, 1), once for each of its channels."""
    return value_A.repeat_interleave(width).view(-1, 1, 1)


class DetectorNetwork(nn.Module):
    """The whole detector. Input: (B, 3, H, W) float RGB, (pixel - 127.5) / 128, sides multiples of 32."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, self.neck, self.head = Backbone(config), Neck(config), Head(config)
        for stride, sides in zip(STRIDES, ANCHOR_SIDES_PX, strict=True):
            half = torch.tensor(sides, dtype=torch.float32) / (2 * stride)
            self.register_buffer(f"half_side_{stride}", half, persistent=False)
        lowered = torch.zeros(NUM_ANCHORS, 1, 1)
        lowered[0] = config.small_shift
        self.register_buffer("lowered", lowered, persistent=False)

    def levels(self, images_BCHW: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Runs the network, finest level first.

        Returns:
            A level's score logits (B, A, 1), distances (B, A, 4) from an anchor's centre to the box's left, top, right
            and bottom, and key points (B, A, 10) from that centre, both in strides.
        """
        return [
            (_by_anchor(score, 1), _by_anchor(box, 4), _by_anchor(landmarks, 2 * NUM_LANDMARKS))
            for score, box, landmarks in self._answers(images_BCHW)
        ]

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The nine outputs of an SCRFD graph: scores (0 to 1) of strides 8, 16, 32, then boxes, then key points."""
        score, box, landmarks = zip(*self._answers(images_BCHW), strict=True)
        if self.config.small_shift:
            score = (score[0] - self.lowered, *score[1:])
        return (
            *(_by_anchor(each, 1).sigmoid() for each in score),
            *(_by_anchor(each, 4) for each in box),
            *(_by_anchor(each, 2 * NUM_LANDMARKS) for each in landmarks),
        )

    def _answers(self, images_BCHW: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """What `levels` gives, as maps (B, C, H, W) of two anchors' channels.

        What anchors are scaled by is a channel's here, where it costs a graph nothing or little; behind `_by_anchor` it
        would be spread over rows of a few numbers.
        """
        maps = self.neck(self.backbone(images_BCHW))
        answers = []
        for level, stride in enumerate(STRIDES):
            half_A: Tensor = getattr(self, f"half_side_{stride}")
            score, box, landmarks = self.head(maps, level, _by_channel(half_A, 2 * NUM_LANDMARKS))
            sides = box.clamp(-_MAX_LOG_SIZE, _MAX_LOG_SIZE).exp()
            answers.append((score, sides * _by_channel(half_A, 4), landmarks))
        return answers


def with_small_shift(network: DetectorNetwork, small_shift: float) -> DetectorNetwork:
    """The same network whose smallest anchors' scores are lowered so much in service."""
    shifted = DetectorNetwork(replace(network.config, small_shift=small_shift))
    shifted.load_state_dict(network.state_dict())
    return shifted.train(network.training)


def with_level_norms(network: DetectorNetwork) -> DetectorNetwork:
    """The same network with a head whose norms serve one level each; they start as the one that served all levels."""
    if network.config.level_norms:
        return network
    split = DetectorNetwork(replace(network.config, level_norms=True))
    taken = {}
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if parts[:2] != ["head", "tower"]:
            taken[name] = value
        elif parts[4] == "0":  # a convolution
            taken[".".join([*parts[:4], *parts[5:]])] = value
        else:
            for level in range(len(STRIDES)):
                taken[".".join([*parts[:3], f"{parts[3]}_norms", str(level), *parts[5:]])] = value.clone()
    split.load_state_dict(taken)
    return split.train(network.training)
