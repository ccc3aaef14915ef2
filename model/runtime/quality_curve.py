"""Quality's curves in `pack.json`: how the error of a task goes with the quality of a face.

Holds their schema. Never measures (see `model.training.evaluation.quality`).
"""

from typing import Literal

from pydantic import Field

from model.runtime.part import Part


class QualityBin(Part):
    """The mean error of the samples whose quality lies from `low` to `high`, with its 95 % interval."""

    low: float
    high: float
    mean: float  # quality
    error: float
    error_low: float
    error_high: float
    num_samples: int = Field(ge=1)


class QualityCurve(Part):
    """How a task's error goes with a measure of quality, on one set: bins, and the rank correlation over its samples.

    `measured` faces are as they are; `degraded` ones are the same faces made smaller or blurred.
    """

    task: str
    error: str  # wrong, absolute_error_years, wrong_share, false_non_match, missed, landmark_error_by_eye_distance
    quality: str  # sharpness, yaw_degrees, pitch_degrees, roll_degrees, size_px, blur_sigma_px
    dataset: str
    how: Literal["measured", "degraded"]
    spearman: float = Field(ge=-1, le=1)
    spearman_low: float
    spearman_high: float
    num_samples: int = Field(ge=1)
    bins: tuple[QualityBin, ...] = Field(min_length=2)
    command: str
