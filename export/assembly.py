"""Assembly: from a checkpoint and a detector to a checked, measured, calibrated pack.

Holds the order of things; each is done elsewhere. Never leaves half a pack: everything happens in a staged folder.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.calibrate import CALIBRATION_SET, calibrate
from export.check import Drift, GraphCheck, Predict, compare, drift, predict_by
from export.crops import crops_from_data, crops_from_photographs, installed_photographs
from export.energy import Power, accounted
from export.errors import ExportError
from export.folding import fold_norms
from export.graph import OPSET, predict_with, trace
from export.measuring import measured, training_log
from export.ordinal_age import clear_seed, wavering
from export.pack_check import ANALYZER, LABELS, check_pack
from export.pack_writer import pack_file, write_checkpoint, write_manifest
from export.pictures import draw_pictures
from export.precision import embedding_space, rounded, stored_state
from export.progress import Stages
from export.provenance import default_license, earlier_provenance, training_sets
from export.record import compared, versions
from export.sources import AnalyzerSource, DetectorSource, open_detector, place_detector, read_analyzer
from export.staging import staged
from export.temperature import with_temperatures
from export.tempering import configured, fit_temperatures, stated
from model.analyzer import Analyzer
from model.runtime.known_answer import known_answer, known_crops
from model.runtime.pack import Alignment, AnalyzerPart, Figure, Pack
from model.runtime.part import KnownAnswer
from model.runtime.session import open_session
from model.training.dataset import ALIGNMENT

ANALYZER_FILE: Final = "analyzer.onnx"
# Alignments that sets are prepared in and services cut.
_TRAINED_ON: Final[dict[str, Alignment]] = {"arcface-5pt": "arcface-5pt", "celeba": "celeba"}
# Of the known answer, absolute (probabilities, years). Another processor adds in another order and moves an answer by
# some 1e-5; other weights, another channel order or another scaling of pixels move one task's at least by far more.
KNOWN_TOLERANCE: Final = 5e-3


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for.

    Attributes:
        checkpoint: the analyzer's, or its training run's folder.
        detector: a checkpoint, a run, an ONNX file, or a pack.
        name: of the pack.
        version: of the pack.
        out: the folder of packs.
        data: the data folder, to measure and calibrate on; None for neither.
        license: None takes what follows from the training data.
        allowed_use: likewise.
        trained_on: the machine, in words.
        photographs: to check on where there is no data.
        calibrate: whether to fit temperatures and thresholds.
        force: replace a folder that is no pack.
        command: what was typed, for the manifest.
        alignment: of the crops that it was trained on; None takes what its run tells, or the five-point one.
        earlier: trainings that it rests on, as `provenance.earlier_provenance` reads them, the first one first.
        teacher: whose answers it was taught, in words; None takes what its run tells.
        power: what is known of the machines' power, for energy and carbon.
    """

    checkpoint: Path
    detector: str
    name: str
    version: str
    out: Path
    data: Path | None = None
    license: str | None = None
    allowed_use: str | None = None
    trained_on: str | None = None
    photographs: tuple[Path, ...] = ()
    calibrate: bool = True
    force: bool = False
    command: str = "mien-export checkpoint"
    alignment: Alignment | None = None
    earlier: tuple[str, ...] = ()
    teacher: str | None = None
    power: Power = field(default_factory=Power)


@dataclass(frozen=True, slots=True)
class _Checked:
    """The analyzer's graph and what was found of it."""

    check: GraphCheck
    drift: Drift | None
    known: KnownAnswer
    crops_from: str


def export_checkpoint(order: Order, stages: Stages) -> Path:
    """Makes a pack.

    Returns:
        The pack's folder.

    Raises:
        ExportError: if anything asked for cannot be used, or a check fails; nothing is left on disk then.
        DataError: if the data folder cannot be used.
    """
    source = _source(order)
    _license(order, source, None)
    alignment = _alignment(order, source)
    with staged(order.out, order.name, force=order.force) as folder:
        with stages.stage("detector"):
            detector = place_detector(order.detector, folder, order.trained_on)
        with stages.stage("analyzer: tracing"):
            twin = Analyzer(rounded(fold_norms(rounded(source.network)))).eval()
            (folder / ANALYZER_FILE).write_bytes(trace(twin))
        if order.data is not None and order.calibrate:
            with stages.stage("fitting temperatures on the validation sets", has_bars=True):
                twin = _tempered(order.data, twin, folder, alignment, stages)
        with stages.stage("analyzer: comparing with the network"):
            checked = _check(order, source, detector, twin, folder, alignment)
        pack = _manifest(order, source, detector, twin, checked, folder, alignment)
        write_manifest(folder, pack)
        pack = _measured(order, pack, folder, stages)
        with stages.stage("checking the whole pack"):
            write_manifest(folder, pack)
            check_pack(folder)
    return order.out / order.name


def _source(order: Order) -> AnalyzerSource:
    """The checkpoint with all that its surroundings and the order tell of its training."""
    source = read_analyzer(order.checkpoint, order.trained_on)
    found = source.provenance
    before = [earlier_provenance(stated, order.trained_on) for stated in order.earlier]
    earlier = [run for each in before for run in (*each.earlier, each.run) if run is not None]
    run = found.run
    if run is not None and order.teacher is not None:
        run = run.model_copy(update={"teacher": order.teacher})
    sets = dict.fromkeys(name for each in (*before, found) for name in each.sets)
    counted = {entry.name: entry for each in (found, *before) for entry in each.counted if entry.name not in sets}
    provenance = replace(
        found, run=run, earlier=(*earlier, *found.earlier), sets=tuple(sets), counted=tuple(counted.values())
    )
    return replace(source, provenance=provenance)


def _measured(order: Order, pack: Pack, folder: Path, stages: Stages) -> Pack:
    """The pack with thresholds, figures and pictures; thresholds first, since figures are stated at them."""
    runs = {"analyzer": order.checkpoint, "detector": Path(order.detector)}
    logs = {part: log for part, path in runs.items() if (log := training_log(path)) is not None}
    if order.data is None:
        return pack.model_copy(update={"pictures": draw_pictures(folder, None, logs)}) if logs else pack
    if order.calibrate and "embedding" in pack.tasks:
        with stages.progress() as progress:
            found = calibrate(folder, pack, order.data, progress, CALIBRATION_SET)
        pack = pack.model_copy(update={"verification": found})
        write_manifest(folder, pack)
    with stages.stage("measuring on the validation sets", has_bars=True):
        return measured(folder, pack, order.data, order.out / order.name, logs)


def _alignment(order: Order, source: AnalyzerSource) -> Alignment:
    told = order.alignment or source.provenance.alignment or ALIGNMENT
    if told not in _TRAINED_ON:
        raise ExportError(
            f"the checkpoint was trained on crops of alignment {told!r}, which no service cuts: state --alignment, "
            f"one of {', '.join(_TRAINED_ON)}"
        )
    return _TRAINED_ON[told]


def _tempered(data: Path, twin: Analyzer, folder: Path, alignment: Alignment, stages: Stages) -> Analyzer:
    """Writes the temperatures that the validation sets give into the graph; the twin that answers at the same."""
    graph, before = folder / ANALYZER_FILE, {task: twin.temperatures.of(task) for task in twin.tasks}
    with stages.progress() as progress:
        found = fit_temperatures(graph, twin.side_px, alignment, twin.tasks, before, data, progress)
    graph.write_bytes(with_temperatures(graph.read_bytes(), found.temperatures))
    return Analyzer(twin.network, configured(twin.network.config, found.temperatures).temperatures).eval()


def _check(
    order: Order, source: AnalyzerSource, detector: DetectorSource, twin: Analyzer, folder: Path, alignment: Alignment
) -> _Checked:
    session = open_session(folder / ANALYZER_FILE)
    crops, crops_from = _crops(order, detector, folder, twin.side_px, alignment)
    network: Predict = predict_with(twin)
    check = compare(session, network, crops, twin.side_px, wavering=wavering(twin))
    measured = drift(predict_with(Analyzer(source.network).eval()), network, crops)
    seed = clear_seed(twin)
    known = known_answer(seed, predict_by(session)(known_crops(seed, twin.side_px, 1)), KNOWN_TOLERANCE)
    return _Checked(check, measured, known, crops_from)


def _crops(
    order: Order, detector: DetectorSource, folder: Path, side_px: int, alignment: Alignment
) -> tuple[NDArray[np.uint8], str]:
    if order.data is not None and not order.photographs:
        return crops_from_data(order.data, side_px), "the validation sets"
    photographs = order.photographs or installed_photographs()
    crops = crops_from_photographs(photographs, open_detector(folder, detector.part), side_px, alignment)
    return crops, ", ".join(path.name for path in photographs)


def _manifest(
    order: Order,
    source: AnalyzerSource,
    detector: DetectorSource,
    twin: Analyzer,
    checked: _Checked,
    folder: Path,
    alignment: Alignment,
) -> Pack:
    state = stored_state(source.network)
    license_text, allowed_use = _license(order, source, detector)
    names = tuple(dict.fromkeys((*source.provenance.sets, *detector.sets)))
    counted = training_sets(names, order.data) if order.data is not None else ()
    last = () if source.provenance.run is None else (source.provenance.run,)
    runs = tuple(accounted(run, order.power) for run in (*source.provenance.earlier, *last, *detector.runs))
    temperatures = {task: twin.temperatures.of(task) for task in twin.tasks}
    config = replace(twin.network.config, temperatures=twin.temperatures)
    plain = pack_file(folder, ANALYZER_FILE)
    part = AnalyzerPart(
        file=plain.file,
        sha256=plain.sha256,
        side_px=twin.side_px,
        alignment=alignment,
        tasks=twin.tasks,
        labels={task: LABELS[task] for task in twin.tasks if task in LABELS},
        embedding_dim=config.embedding_dim if "embedding" in twin.tasks else None,
        opset=OPSET,
        known_answer=checked.known,
        temperatures=stated(temperatures),
    )
    return Pack(
        name=order.name,
        version=order.version,
        license=license_text,
        allowed_use=allowed_use,
        training_data=(*source.provenance.counted, *counted, *(e for e in detector.counted if e.name not in names)),
        training=runs,
        detector=detector.part,
        analyzers=(part,),
        embedding_space=embedding_space(state) if "embedding" in twin.tasks else None,
        measured=_drift_figures(order, checked),
        checkpoints=(*write_checkpoint(folder, ANALYZER, state, config.to_json()), *detector.checkpoints),
        exported_with=_exported_with(order, checked),
    )


def _license(order: Order, source: AnalyzerSource, detector: DetectorSource | None) -> tuple[str, str]:
    counted = (*source.provenance.counted, *(() if detector is None else detector.counted))
    sets = (*source.provenance.sets, *(() if detector is None else detector.sets), *(entry.name for entry in counted))
    default = default_license(tuple(dict.fromkeys(sets)))
    if order.license is not None:
        return order.license, order.allowed_use or "As the licence says."
    if default is None:
        raise ExportError("which data the checkpoint was trained on is not recorded beside it: state --license")
    return default[0], order.allowed_use or default[1]


def _drift_figures(order: Order, checked: _Checked) -> tuple[Figure, ...]:
    if checked.drift is None:
        return ()
    found: dict[tuple[str, str], float | None] = {
        ("embedding", "cosine_to_float32_weights_min"): checked.drift.min_cosine,
        ("age", "change_from_float32_weights_max_years"): checked.drift.max_age_years,
    }
    return tuple(
        Figure(
            task=task,
            metric=metric,
            value=value,
            dataset=f"real crops of {checked.crops_from}",
            num_samples=checked.drift.num_crops,
            command=order.command,
        )
        for (task, metric), value in found.items()
        if value is not None
    )


def _exported_with(order: Order, checked: _Checked) -> dict[str, str]:
    return {**versions(order.command), "compared": compared(checked.check, checked.crops_from)}
