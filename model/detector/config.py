"""The detector's make-up: a frozen description that travels in its checkpoint.

Holds numbers alone. Never builds a network (see `model.detector.network`) and never says how one is trained.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

STRIDES: Final = (8, 16, 32)
# Sides of the two square anchors of a cell, in pixels, by stride (SCRFD, Guo et al. 2021, arXiv 2105.04714).
ANCHOR_SIDES_PX: Final = ((16, 32), (64, 128), (256, 512))
NUM_ANCHORS: Final = 2
SIZE_MULTIPLE_PX: Final = 32  # an input's height and width are multiples of the coarsest stride


class ConfigError(ValueError):
    """A description that no network can be built from; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Widths and depths of the network.

    Attributes:
        stem_width: channels after the first convolution, at stride 2.
        widths: channels of the stages at strides 4, 8, 16, 32.
        depths: blocks of these stages, the one that halves the size included.
        neck_width: channels of all three levels after the neck, and of the head.
        head_depth: separable convolutions of the head, which all levels share.
        level_norms: each level has batch norms of its own in the head whose convolutions it shares, since the levels'
            features are spread unlike each other; without, as a description that lacks it means, one for all of them.
        landmark_depth: separable convolutions for the landmarks alone, on the neck's features, each level's its own,
            whose answer is added to that of the head's shared ones; 0, which a description that lacks it means, for
            none.
        landmark_widths: channels of these at strides 8, 16, 32; the coarse maps are small, so wide ones cost little.
        landmark_finer: at strides 16 and 32 they see the features of the next finer stride, too, where a point's place
            is known twice as finely.
        small_shift: what the smallest anchors' score logits are lowered by in service, so that a score means as much
            for the smallest faces as for others: patches of a dozen pixels are what is taken for a face where none is.
    """

    stem_width: int = 16
    widths: tuple[int, int, int, int] = (32, 64, 160, 288)
    depths: tuple[int, int, int, int] = (2, 3, 5, 4)
    neck_width: int = 64
    head_depth: int = 3
    level_norms: bool = False
    landmark_depth: int = 0
    landmark_widths: tuple[int, int, int] = (32, 128, 192)
    landmark_finer: bool = False
    small_shift: float = 0.0

    def __post_init__(self) -> None:
        sizes = (self.stem_width, *self.widths, *self.depths, self.neck_width, self.head_depth)
        if len(self.widths) != 4 or len(self.depths) != 4 or min(sizes) < 1:
            raise ConfigError("a detector has four stages, each of at least one block and one channel")
        if self.landmark_depth < 0 or len(self.landmark_widths) != len(STRIDES) or min(self.landmark_widths) < 1:
            raise ConfigError("a detector's landmarks have no or more blocks, of at least one channel at each stride")

    def to_json(self) -> str:
        """The description as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "DetectorConfig":
        """Reads what `to_json` wrote.

        Raises:
            ConfigError: if the text is no such description.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
            }
            return cls(**values)
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"not a detector's description: {error}") from error
