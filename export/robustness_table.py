"""The card's table of robustness: what the detector finds under each condition, one row a condition.

Every figure is read from `pack.json`. Never measures (see `model.training.detection.robustness`).
"""

from typing import Final

from model.runtime.pack import Figure, Pack
from model.training.evaluation.conditions import CONDITION, CONDITION_METRICS

_HEAD: Final = """\
## Detection under conditions

The validation photographs shown otherwise, without chance: at sizes in a frame of 640 pixels, cropped, turned, blurred
by a share of the face's longer side, dark and noisy, in large and long pictures. Looks are runs of the detector; a
picture without a sure face takes every look that the scales allow."""


def robustness_table(pack: Pack) -> str:
    """The section, as Markdown; empty where nothing was measured by condition."""
    figures = {(row.group, row.metric): row for row in pack.measured if is_by_condition(row)}
    if not figures:
        return ""
    scales = ", ".join(f"{scale:g}" for scale in pack.detector.scales)
    command = next(iter(figures.values())).command
    lines = [_HEAD, "", f"Scales: {scales}. Made by `{command}`.", ""]
    lines.append("| condition | faces | " + " | ".join(CONDITION_METRICS.values()) + " |")
    lines.append("|---|---:|" + "---:|" * len(CONDITION_METRICS))
    for group in dict.fromkeys(group for group, _ in figures):
        found = [figures.get((group, metric)) for metric in CONDITION_METRICS]
        faces = f"{found[0].num_samples:,}" if found[0] else ""
        lines.append(f"| {group.removeprefix(CONDITION)} | {faces} | " + " | ".join(map(_cell, found)) + " |")
    return "\n".join(lines)


def is_by_condition(figure: Figure) -> bool:
    """Whether a figure holds for one condition of the detector."""
    return figure.group.startswith(CONDITION)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.metric.startswith("recall"):
        return f"{100 * figure.value:.1f} %"
    return f"{figure.value:.3f}" if figure.metric != "views_per_photo" else f"{figure.value:.2f}"
