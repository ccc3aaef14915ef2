"""What a recipe says of mixup and cutmix. Never mixes (see `model.training.mixing`)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class MixingConfig:
    """Two crops as one, with both's labels by their shares.

    Attributes:
        kind: mixup (Zhang et al. 2018, arXiv 1710.09412), cutmix (Yun et al. 2019, arXiv 1905.04899), or neither.
        alpha: of the Beta distribution that a batch's share is drawn from.
        probability: a batch's chance to be mixed.
    """

    kind: Literal["none", "mixup", "cutmix"] = "none"
    alpha: float = 0.8
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.alpha <= 0:
            raise ValueError("mixing.alpha must be over 0")
