"""Examination: from what a person names to a report: which kind of model it is, how it is opened, what is measured.

Holds the choice between a checkpoint of the analyzer, one of the detector, and a pack, which is both. Never reads the
command line and never prints.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from model.checkpoint import CONFIG, CheckpointError
from model.runtime.detection import Detector
from model.runtime.pack import MANIFEST, Pack, PackError, Threshold, find_pack, read_pack, verify_pack
from model.training.dataset import DataError
from model.training.detection.conditions import conditions
from model.training.detection.evaluate import evaluate_detector, evaluate_on
from model.training.detection.operating_point import open_checkpoint as open_detector
from model.training.detection.robustness import try_conditions
from model.training.detection.scenes import Scene, read_scenes
from model.training.evaluation.calibration import Temperatures
from model.training.evaluation.confidence import Curve
from model.training.evaluation.protocols import Protocols, measure_protocols
from model.training.evaluation.quality.inspection import Inspection
from model.training.evaluation.quality.scenes import scene_curves
from model.training.evaluation.report import EvaluationReport
from model.training.evaluation.seen import sampled_faces, sampled_scenes, stated
from model.training.evaluation.subjects import (
    ARCFACE,
    DeviceChoice,
    PackSubjects,
    Subject,
    SubjectError,
    checkpoint_folder,
    open_checkpoint,
    open_on,
)
from model.training.evaluation.validation import (
    BATCH_SIZE,
    Beside,
    PredictOn,
    evaluate_aligned,
    find_measured,
    progress_bars,
)

_QUALITY_FMR: Final = 1e-3  # at whose threshold a pair of one person counts as refused


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate, on what and how.

    Attributes:
        target: a checkpoint's folder, a training run's, a pack's, or a shipped pack's name.
        data: folder with the parquet files; None for the protocols alone.
        device: `auto` takes CUDA where it can be had.
        limit: about so many images a set, for a quick look; None for all.
        batch_size: crops a run of the network.
        num_threads: on the CPU; 0 leaves torch's and onnxruntime's own choice.
        protocols: published verification sets to measure beside.
        quality: set errors against sharpness, pose and size, too.
        train_gap: measure a sample of the training rows as well.
        robustness: try the detector under every condition too.
        scales: at which the detector looks at a picture; None for its own.
    """

    target: str
    data: Path | None = None
    device: DeviceChoice = "auto"
    limit: int | None = None
    batch_size: int = BATCH_SIZE
    num_threads: int = 0
    protocols: Protocols = field(default_factory=Protocols)
    quality: bool = False
    train_gap: bool = False
    robustness: bool = False
    scales: tuple[float, ...] | None = None

    @property
    def command(self) -> str:
        """The command that makes the same report."""
        data = "" if self.data is None else f" --data {self.data}"
        protocols = f" {self.protocols.arguments}" if self.protocols else ""
        limit = "" if self.limit is None else f" --limit {self.limit}"
        flags = {"quality": self.quality, "train-gap": self.train_gap, "robustness": self.robustness}
        more = "".join(f" --{name}" for name, asked in flags.items() if asked)
        scales = "" if self.scales is None else f" --scales {','.join(f'{scale:g}' for scale in self.scales)}"
        return f"mien-train evaluate {self.target}{data}{protocols}{limit}{more}{scales}"


def examine(request: Request) -> EvaluationReport:
    """Measures what the request names.

    Raises:
        SubjectError, CheckpointError, PackError, SessionError: if it cannot be opened.
        DataError: if the data cannot be used.
        EvaluationError: if its answers cannot be measured.
    """
    folder = checkpoint_folder(Path(request.target))
    if folder is None:
        return _examine_pack(request)
    if kind_of(folder) == "detector":
        if request.protocols or request.data is None:
            raise SubjectError(f"{folder} is a detector's: it is measured on --data alone")
        notes = ("a detector's checkpoint runs on the CPU",) if request.device == "cuda" else ()
        report = EvaluationReport(str(folder), request.command, notes=notes)
        return _with_detection(report, open_detector(folder, request.scales), request)
    # A checkpoint of the analyzer has no detector beside it, so pose is left out of its quality.
    return _measured(open_checkpoint(folder, request.device, request.num_threads), request)


def kind_of(checkpoint: Path) -> Literal["analyzer", "detector"]:
    """Which of both networks a checkpoint holds, by its `config.json`.

    Raises:
        CheckpointError: if that cannot be read.
    """
    try:
        described = json.loads((checkpoint / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"no checkpoint at {checkpoint}: cannot read {CONFIG}") from error
    except ValueError as error:
        raise CheckpointError(f"{checkpoint / CONFIG} is not JSON: {error}") from error
    return "detector" if isinstance(described, dict) and "operating_point" in described else "analyzer"


def run_folder(target: str, log_name: str) -> Path | None:
    """The folder of the training run that a target belongs to, known by its log; None if there is none."""
    path = Path(target)
    return next((folder for folder in (path, path.parent) if (folder / log_name).is_file()), None)


def _examine_pack(request: Request) -> EvaluationReport:
    folder = _pack_folder(request.target)
    pack = read_pack(folder)
    verify_pack(folder, pack)
    subjects = PackSubjects(folder, pack, request.device, request.num_threads)
    report = EvaluationReport(subjects.name, request.command)
    if request.data is None:
        return _of_protocols(report, subjects, pack, request).extended(notes=subjects.notes())
    session = open_on(folder / pack.detector.file, request.device, request.num_threads)
    part = pack.detector if request.scales is None else pack.detector.at_scales(request.scales)
    detector, known = Detector(session, part), _known_of(pack, subjects)
    report = _on_sets(report, subjects.predict_on, request, replace(known, detector=detector))
    report = _of_protocols(report, subjects, pack, request).extended(notes=subjects.notes())
    try:
        return _with_detection(report, detector, request, known.trained_on)
    except DataError as error:  # the analyzer's figures stand without the detector's
        return report.extended(notes=[f"detection: {error}, left out"])


def _of_protocols(report: EvaluationReport, subjects: PackSubjects, pack: Pack, request: Request) -> EvaluationReport:
    if request.protocols:
        arcface = subjects.on(ARCFACE)
        if arcface is None:
            raise SubjectError(f"{pack.name} takes no {ARCFACE} crops, and the verification sets hold such")
        report = _by_protocols(report, arcface, request)
    return report


def _pack_folder(target: str) -> Path:
    path = Path(target).expanduser()
    if path.exists() and not (path / MANIFEST).is_file() and os.sep in target:
        raise SubjectError(f"{target} is neither a checkpoint (weights.safetensors) nor a pack ({MANIFEST})")
    try:
        return find_pack(target)
    except PackError as error:
        raise SubjectError(f"no checkpoint at {target}, and {error}") from error


def _measured(subject: Subject, request: Request) -> EvaluationReport:
    report = EvaluationReport(subject.name, request.command)
    if request.data is not None:
        report = _on_sets(report, lambda _alignment: subject.predict, request, _Known(subject.temperatures))
    return _by_protocols(report, subject, request) if request.protocols else report


@dataclass(frozen=True, slots=True)
class _Known:
    """What a model tells beside its answers.

    Attributes:
        temperatures: those that its answers are given at, by task.
        confidence: the curve that a pack states.
        thresholds: likewise.
        detector: a pack's.
        trained_on: a pack's sets; None for a checkpoint, which does not tell: every set with training rows is taken
            for one.
    """

    temperatures: Temperatures
    confidence: Curve | None = None
    thresholds: Sequence[Threshold] = ()
    detector: Detector | None = None
    trained_on: frozenset[str] | None = None

    @property
    def threshold(self) -> float | None:
        return next((row.threshold for row in self.thresholds if row.fmr == _QUALITY_FMR), None)


def _known_of(pack: Pack, subjects: PackSubjects) -> _Known:
    return _Known(
        subjects.temperatures,
        subjects.confidence,
        () if pack.verification is None else pack.verification.thresholds,
        trained_on=frozenset(entry.name for entry in pack.training_data),
    )


def _on_sets(report: EvaluationReport, predict_on: PredictOn, request: Request, known: _Known) -> EvaluationReport:
    assert request.data is not None
    inspection = Inspection(request.command, known.detector, known.threshold)
    found = evaluate_aligned(
        predict_on,
        request.data,
        model=report.model,
        command=report.command,
        limit=request.limit,
        batch_size=request.batch_size,
        temperatures=known.temperatures,
        confidence=known.confidence,
        beside=Beside(known.thresholds, inspection.curves if request.quality else None),
    )
    return _with_seen(found, predict_on, request, known.trained_on) if request.train_gap else found


def _with_seen(
    report: EvaluationReport, predict_on: PredictOn, request: Request, trained_on: frozenset[str] | None
) -> EvaluationReport:
    assert request.data is not None
    validated = tuple(name for name, split in find_measured(request.data) if split == "val")
    asked = tuple(name for name in validated if trained_on is None or name in trained_on)
    with sampled_faces(request.data, asked, request.limit) as (folder, names):
        if not names:
            return report.extended(notes=[f"{request.data} holds no rows that it was trained on: no gap is stated"])
        seen = evaluate_aligned(
            predict_on, folder, model=report.model, command=report.command, batch_size=request.batch_size
        )
    return replace(report, seen=(*report.seen, *stated(seen.measures)))


def _by_protocols(report: EvaluationReport, subject: Subject, request: Request) -> EvaluationReport:
    found = measure_protocols(subject, request.protocols, request.batch_size)
    return report.extended(found.measures, found.notes, found.curves)


def _with_detection(
    report: EvaluationReport, detector: Detector, request: Request, trained_on: frozenset[str] | None = None
) -> EvaluationReport:
    assert request.data is not None
    scenes = list(read_scenes(request.data, "val"))
    # Every k-th scene keeps the mixture of photographs and rooms.
    every = 1 if request.limit is None else max(math.ceil(len(scenes) / request.limit), 1)
    return _with_more_of_detection(
        report.extended(evaluate_on(detector, scenes[::every]).measures()),
        detector,
        scenes[::every],
        request,
        is_seen=trained_on is None or "detection" in trained_on,
    )


def _with_more_of_detection(
    report: EvaluationReport, detector: Detector, scenes: Sequence[Scene], request: Request, *, is_seen: bool
) -> EvaluationReport:
    assert request.data is not None
    if request.robustness:
        report = _with_conditions(report, detector, scenes, request.num_threads)
    if request.quality:
        report = replace(report, quality=(*report.quality, *scene_curves(detector, scenes, request.command)))
    if request.train_gap and is_seen:
        with sampled_scenes(request.data) as folder:
            seen = () if folder is None else stated(evaluate_detector(detector, folder).measures())
        report = replace(report, seen=(*report.seen, *seen))
    return report


def _with_conditions(
    report: EvaluationReport, detector: Detector, scenes: Sequence[Scene], num_threads: int
) -> EvaluationReport:
    with progress_bars() as progress:
        bar = progress.add_task("robustness", total=len(conditions()))
        rows = try_conditions(detector, scenes, num_threads, lambda _: progress.advance(bar))
    return report.extended([measure for row in rows for measure in row.measures()])
