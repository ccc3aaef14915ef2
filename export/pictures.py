"""Pictures of the card: drawn from an evaluation's report and a training's log, small, beside `CARD.md`.

Holds which there are and what each is called. Never measures. Their hashes stand in the manifest, and
`mien-export check` verifies them; what serves a pack never reads them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from PIL import Image

from model.runtime.pack import Picture, sha256_of
from model.training.evaluation.curves import draw_report
from model.training.evaluation.history import HistoryError, draw_training
from model.training.evaluation.quality.drawing import draw_quality
from model.training.evaluation.reliability import draw_reliabilities
from model.training.evaluation.report import EvaluationReport

PICTURES: Final = "card"  # the folder in a pack
_COLOURS: Final = 32  # lines, shades and letters need no more, and the files are a third as large
_MAX_WIDTH_PX: Final = 1300
_TITLES: Final = {
    "roc": "ROC of verification: true-accept rate over false-match rate",
    "det": "DET of verification: false non-match rate over false-match rate",
    "confusion": "confusion matrix of",
    "attributes": "accuracy of each attribute on",
    "groups": "figures by group on",
    "reliability": "stated probabilities against what came true, of",
    "quality-faces": "errors over sharpness and pose of faces as they are",
    "quality-degraded": "errors over size, blur and sharpness of degraded faces",
    "quality-detection": "faces missed and landmarks off, over sharpness, size and pose",
    "training": "training of the",
}


def draw_pictures(folder: Path, report: EvaluationReport | None, logs: Mapping[str, Path]) -> tuple[Picture, ...]:
    """Draws a pack's pictures into its folder.

    Args:
        folder: the pack's.
        report: what was measured; None draws the training alone.
        logs: of trainings, by part; a log that cannot be drawn is left out.
    """
    target = folder / PICTURES
    target.mkdir(exist_ok=True)
    drawn: list[Path] = []
    if report is not None:
        drawn += [*draw_report(report, target), *draw_reliabilities(report, target)]
        drawn += draw_quality(report.quality, target)
    for part, log in logs.items():
        try:
            drawn.append(draw_training(log, target / f"training-{part}.png"))
        except HistoryError:
            continue  # a run without a log, or one of another making
    return tuple(_picture(path) for path in drawn)


def _picture(path: Path) -> Picture:
    with Image.open(path) as drawn:
        image = drawn.convert("RGB")
    if image.width > _MAX_WIDTH_PX:
        image = image.resize(
            (_MAX_WIDTH_PX, round(image.height * _MAX_WIDTH_PX / image.width)), Image.Resampling.LANCZOS
        )
    # Shades of a matrix go by how many pixels there are of each, thin lines by how far their colours lie apart.
    how = Image.Quantize.MEDIANCUT if path.name.startswith("confusion-") else Image.Quantize.MAXCOVERAGE
    image.quantize(_COLOURS, how, dither=Image.Dither.NONE).save(path, optimize=True)
    return Picture(file=f"{PICTURES}/{path.name}", sha256=sha256_of(path), title=_title(path.stem))


def _title(name: str) -> str:
    if name in _TITLES:
        return _TITLES[name]
    kind, *of = name.split("-")
    return " ".join([_TITLES[kind], " on ".join(["-".join(of[:1]), *(["-".join(of[1:])] if of[1:] else [])])])
