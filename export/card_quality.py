"""The card's sections on what was seen in training and what was not, and on errors against the quality of a face.

Holds wording and tables of what `pack.json` states. Never measures.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from export.figures import is_worse_when_higher, is_years, pictured, shown, written
from model.runtime.pack import Figure, Pack
from model.runtime.quality_curve import QualityCurve
from model.training.evaluation import seen_pairs

_DECIMALS: Final = {"sharpness": 2, "blur_sigma_px": 1}


def seen_and_unseen(pack: Pack) -> str:
    """The section, or nothing where no training rows were measured."""
    rows = list(seen_pairs.seen_and_unseen(pack.seen, pack.measured))
    if not rows:
        return ""
    lines = [
        "## Seen and unseen",
        "",
        "The same figures, by the same code, on rows that the network was trained on and on rows that it was not: a "
        "random sample of the training rows, or the pictures of 60 people in a set with identities. A gap above 0 is "
        "what it does better on what it has seen.",
        "",
        "| task | metric | set | seen | unseen | gap | samples seen | samples unseen |",
        "|---|---|---|---:|---:|---:|---:|---:|",
        *(_seen_row(seen, other) for seen, other in rows),
        "",
        *(f"`{command}`" for command in dict.fromkeys(seen.command for seen, _ in rows)),
    ]
    return "\n".join(lines)


def quality_and_error(pack: Pack) -> str:
    """The section, or nothing where errors were not set against quality."""
    if not pack.quality:
        return ""
    lines = [
        "## Quality and error",
        "",
        "How errors go with what the service states of a face: sharpness, pose and size. Rank correlation is "
        "Spearman's, over single faces (or pairs of one person, by the poorer picture), with its 95 % interval; above "
        "0 the error rises with the number. An error is a face answered wrongly, a pair refused at the threshold of an "
        "FMR of 0.001, a face missed. *Measured* faces are as they are. *Degraded* ones are 200 of a set, each made "
        "smaller and blurred step by step; photographs are shrunk to a half, a quarter and an eighth. Behind a bin's "
        "error stand its 95 % interval and its samples.",
        "",
        *_findings(pack.quality),
        *pictured(pack.pictures, "quality-"),
        "",
        "| task | error | quality | set | faces | rank correlation | samples | error by bin |",
        "|---|---|---|---|---|---:|---:|---|",
        *(_quality_row(curve) for curve in pack.quality),
        "",
        *(f"`{command}`" for command in dict.fromkeys(curve.command for curve in pack.quality)),
    ]
    return "\n".join(lines)


def _seen_row(seen: Figure, unseen: Figure) -> str:
    gap = (unseen.value - seen.value) * (1 if is_worse_when_higher(seen.metric) else -1)
    name = seen_pairs.set_name(seen.dataset)
    cells = (seen.task, seen.metric, name, shown(seen), shown(unseen), _signed(seen.metric, gap))
    return "| " + " | ".join((*cells, f"{seen.num_samples:,}", f"{unseen.num_samples:,}")) + " |"


def _signed(metric: str, gap: float) -> str:
    text = written(metric, gap)
    return text if text.startswith("-") else f"+{text}"


def _findings(curves: Sequence[QualityCurve]) -> Iterator[str]:
    """In words, counted: of how many curves the interval leaves out 0 on the side that quality is expected on."""
    for quality, expected in (
        ("sharpness", -1),
        ("size_px", -1),
        ("blur_sigma_px", 1),
        ("yaw_degrees", 1),
        ("pitch_degrees", 1),
    ):
        for how in ("measured", "degraded"):
            some = [curve for curve in curves if (curve.quality, curve.how) == (quality, how)]
            if some:
                sure = sum((curve.spearman_low if expected > 0 else -curve.spearman_high) > 0 for curve in some)
                wrong = sum((curve.spearman_high if expected > 0 else -curve.spearman_low) < 0 for curve in some)
                against = f", and against expectation in {wrong}" if wrong else ""
                direction = "rises" if expected > 0 else "falls"
                yield (
                    f"- {quality}, {how} faces: the error {direction} with it, beyond chance, in {sure} of {len(some)} "
                    f"curves{against}."
                )


def _quality_row(curve: QualityCurve) -> str:
    bins = "; ".join(_bin_text(curve, number) for number in range(len(curve.bins)))
    correlation = f"{curve.spearman:+.2f} ({curve.spearman_low:+.2f} to {curve.spearman_high:+.2f})"
    cells = (curve.task, curve.error, curve.quality, curve.dataset, curve.how, correlation, f"{curve.num_samples:,}")
    return "| " + " | ".join((*cells, bins)) + " |"


def _bin_text(curve: QualityCurve, number: int) -> str:
    part, decimals = curve.bins[number], _DECIMALS.get(curve.quality, 0)
    low, high, error = (_error(curve.error, value) for value in (part.error_low, part.error_high, part.error))
    return f"{part.low:.{decimals}f}-{part.high:.{decimals}f}: {error} ({low} to {high}; {part.num_samples:,})"


def _error(name: str, value: float) -> str:
    return f"{value:.2f}" if is_years(name) else f"{100 * value:.1f} %"
