"""The card's sections on calibration: what probabilities mean, thresholds with their intervals, confidence.

Holds their wording and tables, and the same thresholds for the terminal. Never measures.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from export.figures import pictured
from model.runtime.labels import Task
from model.runtime.pack import Interval, Pack, Threshold, Verification

_BEFORE: Final = ("ece_before", "ece_mean_before")
_AFTER: Final = ("ece_after", "ece_mean_after")
STAGED: Final = (*_BEFORE, *_AFTER)  # metrics that stand in this section's table
COLUMNS: Final = ("false-match rate", "threshold (cosine)", "genuine pairs accepted", "rate on other people")


def probabilities(pack: Pack) -> str:
    """How far each task's probabilities were from what came true, without and with its temperature."""
    rows = list(_rows(pack))
    if not rows:
        return ""
    lines = [
        "## Probabilities",
        "",
        "Expected calibration error over 15 equal bins: how far stated probabilities are from the shares that came "
        "true; of attributes, probabilities of yes against shares of yes, all answers together and the mean of the "
        "forty. `Before` is the network as it was trained, `after` is at temperatures that were fitted without the "
        "judged faces' people, five folds. The temperature that the graph divides logits by is fitted on all of them.",
        "",
        "| task | set | error | before | after | faces | temperature |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    commands = dict.fromkeys(figure.command for figure in pack.measured if figure.metric in STAGED)
    lines += [*rows, "", *(f"- `{command}`" for command in commands)]
    return "\n".join([*lines, *pictured(pack.pictures, "reliability-")])


def thresholds(pack: Pack) -> str:
    """The operating points of a pack with embeddings, and what its confidence is worth."""
    found = pack.verification
    if found is None:
        return (
            ""
            if "embedding" not in pack.tasks
            else ("## Verification thresholds\n\nNot calibrated: `mien-export calibrate PACK --data DIR` does it.")
        )
    lines = [
        "## Verification thresholds",
        "",
        f"Calibrated on {found.calibrated_on}: {found.num_images:,} images, {found.num_impostor_pairs:,} impostor and "
        f"{found.num_genuine_pairs:,} genuine pairs. A pair counts as one person from the threshold on.",
        "",
    ]
    if found.intervals is not None:
        lines += [_method(found), ""]
    width = len(threshold_cells(found.thresholds[0]))
    lines += ["| " + " | ".join(COLUMNS[:width]) + " |", "|" + "---:|" * width]
    lines += ["| " + " | ".join(threshold_cells(row)) + " |" for row in found.thresholds]
    if found.confidence is not None:
        lines += ["", _confidence(found.confidence.ece)]
        elsewhere = [
            f"{figure.value:.4f} on {figure.dataset}"
            for figure in pack.measured
            if figure.metric == "confidence_ece_of_pack" and figure.dataset not in found.calibrated_on.lower().split()
        ]
        if elsewhere:
            lines[-1] += f" On sets that it was not fitted on: {', '.join(elsewhere)}."
    return "\n".join(lines)


def threshold_cells(row: Threshold) -> tuple[str, ...]:
    """An operating point under `COLUMNS`; without intervals the last column is left out."""
    cells = (
        f"{row.fmr:g}",
        f"{row.threshold:.4f}{_ends(row.threshold_interval, '.4f')}",
        f"{100 * row.tar:.1f} %{_ends(row.tar_interval, '.1f', 100)}",
    )
    if row.fmr_interval is None:
        return cells
    low, high = row.fmr_interval
    return (*cells, f"{low:.2g} to {high:.2g}")


def temperature_text(temperature: Sequence[float]) -> str:
    """One number, or of several the range."""
    if len(temperature) == 1:
        return f"{temperature[0]:.3f}"
    return f"{min(temperature):.3f} to {max(temperature):.3f}, one each"


def _method(found: Verification) -> str:
    assert found.intervals is not None
    how = found.intervals
    return (
        f"In brackets {100 * how.level:g} % intervals over {how.num_resamples:,} bootstrap samples of the "
        f"{how.num_identities:,} people, not of pairs: where the threshold of that rate would lie on other people, "
        "and what share of genuine and (last column) of impostor pairs this threshold would accept among them."
    )


def _confidence(error: float | None) -> str:
    text = (
        "`confidence` of a verification is the probability that the answer is right, where a pair is beforehand as "
        "likely as not to be one person's."
    )
    if error is None:
        return f"{text} How far it is from what comes true was not measured: the pairs do not say whose they are."
    return (
        f"{text} On pairs of people that it was not fitted on (five folds), its expected calibration error is "
        f"{error:.4f}."
    )


def _ends(interval: Interval | None, form: str, times: float = 1) -> str:
    return "" if interval is None else f" [{times * interval[0]:{form}}, {times * interval[1]:{form}}]"


def _rows(pack: Pack) -> Iterator[str]:
    found = {(row.task, row.metric, row.dataset): row for row in pack.measured}
    temperatures: dict[Task, tuple[float, ...]] = {}
    for part in pack.analyzers:
        temperatures |= part.temperatures
    for (task, metric, dataset), before in found.items():
        if metric not in _BEFORE or (task, after := _AFTER[_BEFORE.index(metric)], dataset) not in found:
            continue
        used = next((value for name, value in temperatures.items() if name == task), (1.0,))
        cells = (
            task,
            dataset,
            "mean of each" if "mean" in metric else "all answers",
            f"{before.value:.4f}",
            f"{found[task, after, dataset].value:.4f}",
            f"{before.num_samples:,}",
            temperature_text(used),
        )
        yield "| " + " | ".join(cells) + " |"
