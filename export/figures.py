"""Figures: how the card writes a measured figure, and what it knows of a metric by its name.

Holds formats, kinds and directions. Never measures and never lays out a page.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from model.runtime.pack import Figure, Picture

ALL: Final = "all"
# One value a class or attribute: they stand in a table of their own, at the end.
_DETAILS: Final = ("recall_", "accuracy_", "balanced_accuracy_", "threshold_at_")
_NOT_DETAILS: Final = ("recall_at_", "accuracy_10fold", "accuracy_mean", "balanced_accuracy_mean")
_HIGHER_IS_WORSE: Final = (
    "mae",
    "bias",
    "fmr",
    "eer",
    "ece",
    "confidence_ece",
    "false_alarms",
    "fnmr",
    "landmark_error",
    "unmatched",
)
_PLAIN: Final = ("threshold", "cosine", "ece", "confidence_ece", "false_alarms", "unmatched", "min_score")
_SIZE: Final = "face "  # how a group of faces of one size begins


def shown(figure: Figure) -> str:
    """A figure's value as the card writes it: years to a hundredth, shares in per cent, plain numbers to 1e-4."""
    return written(figure.metric, figure.value)


def interval(figure: Figure) -> str:
    """A figure's 95 % interval in the figure's unit; empty where none was measured."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{_bare(figure.metric, figure.low)} to {_bare(figure.metric, figure.high)}"


def written(metric: str, value: float) -> str:
    """A value of a metric, or a difference of two, with its unit."""
    if is_years(metric):
        return f"{value:.2f} years"
    if metric.startswith("fmr_at"):
        return f"{100 * value:.3f} %"
    if metric.startswith(_PLAIN) or not -1 <= value <= 1:
        return f"{value:.4f}"
    return f"{100 * value:.1f} %"


def is_years(metric: str) -> bool:
    """Whether a metric is stated in years."""
    return metric.endswith("_years") and not metric.startswith("within_")


def is_worse_when_higher(metric: str) -> bool:
    """Whether a metric counts errors and not successes."""
    return metric.startswith(_HIGHER_IS_WORSE)


def is_detail(metric: str) -> bool:
    """Whether a metric is of one class or attribute."""
    return metric.startswith(_DETAILS) and not metric.startswith(_NOT_DETAILS)


def kind_of(group: str) -> str:
    """What a group's members share: `gender`, `gender and race`, `size`."""
    if group.startswith(_SIZE):
        return "size"
    return " and ".join(part.split("=")[0] for part in group.split(","))


def pictured(pictures: Sequence[Picture], *beginnings: str) -> Iterator[str]:
    """Markdown of the pictures whose names begin so, in the order of the beginnings."""
    for beginning in beginnings:
        for picture in pictures:
            if picture.file.rpartition("/")[2].startswith(beginning):
                yield from ("", f"![{picture.title}]({picture.file})")


def _bare(metric: str, value: float) -> str:
    return written(metric, value).removesuffix(" years").removesuffix(" %")
