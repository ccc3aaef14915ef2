"""Sources: what a pack is made of, opened from what a person named on the command line.

Holds the finding of the analyzer's checkpoint and of the detector, which may be a checkpoint, an ONNX file or a pack.
Never traces and never measures.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from export.detector import export_detector
from export.errors import ExportError
from export.pack_writer import pack_file, write_checkpoint
from export.precision import stored
from export.provenance import DETECTION, Provenance, analyzer_provenance, detector_provenance
from model.checkpoint import CONFIG, WEIGHTS, CheckpointError, load_network, load_tensors
from model.detector.checkpoint import load_detector
from model.network import MultiTaskNetwork
from model.runtime.detection import Detector
from model.runtime.pack import (
    MANIFEST,
    DetectorPart,
    Figure,
    PackError,
    TrainingRun,
    TrainingSet,
    find_pack,
    read_pack,
    verify_pack,
)
from model.runtime.part import PackFile
from model.runtime.session import SessionError, open_session
from model.training.evaluation.subjects import checkpoint_folder

DETECTOR_FILE = "detector.onnx"
_PART = "detector"


@dataclass(frozen=True, slots=True)
class AnalyzerSource:
    """An analyzer's network with what its run tells."""

    folder: Path
    network: MultiTaskNetwork
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class DetectorSource:
    """A detector in the folder of a pack: what the manifest states of it."""

    part: DetectorPart
    checkpoints: tuple[PackFile, ...]
    runs: tuple[TrainingRun, ...]
    sets: tuple[str, ...]  # names of training sets that are still to be counted
    counted: tuple[TrainingSet, ...]  # those that another pack states
    terms: str | None = None  # the licence of the pack that it was copied from, with that pack's name
    figures: tuple[Figure, ...] = ()  # what that pack measured of it


def read_analyzer(path: Path, machine: str | None) -> AnalyzerSource:
    """Opens a checkpoint folder, or the averaged weights of a training run's folder.

    Raises:
        ExportError: if there is none, or it cannot be used.
    """
    folder = checkpoint_folder(path)
    if folder is None:
        raise ExportError(f"no checkpoint at {path}: a checkpoint is a folder that holds {WEIGHTS}")
    try:
        network = load_network(folder)
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    return AnalyzerSource(folder, network, analyzer_provenance(folder, machine))


def place_detector(named: str, folder: Path, machine: str | None) -> DetectorSource:
    """Puts a detector into a pack's folder.

    Args:
        named: a detector's checkpoint folder or training run, an SCRFD ONNX file, or a pack by name or path.
        folder: the pack's.
        machine: where a checkpoint was trained.

    Raises:
        ExportError: if it is none of these, or not an SCRFD-format detector with key points.
    """
    path = Path(named).expanduser()
    if path.suffix == ".onnx":
        return _from_onnx(path, folder)
    if not (path / MANIFEST).is_file() and (checkpoint := checkpoint_folder(path)) is not None:
        return _from_checkpoint(checkpoint, folder, machine)
    return _from_pack(named, folder)


def open_detector(folder: Path, part: DetectorPart) -> Detector:
    """Opens a pack's detector on the CPU.

    Raises:
        ExportError: if it does not load or is not in SCRFD's format.
    """
    try:
        return Detector(open_session(folder / part.file), part)
    except (SessionError, PackError) as error:
        raise ExportError(str(error)) from error


def _from_checkpoint(checkpoint: Path, folder: Path, machine: str | None) -> DetectorSource:
    part = export_detector(checkpoint, folder / DETECTOR_FILE)
    try:
        state = load_detector(checkpoint)[0].state_dict()
        config = (checkpoint / CONFIG).read_text()
    except (CheckpointError, OSError) as error:
        raise ExportError(str(error)) from error
    files = write_checkpoint(folder, _PART, {name: stored(value).contiguous() for name, value in state.items()}, config)
    provenance = detector_provenance(checkpoint, machine)
    runs = () if provenance.run is None else (provenance.run,)
    return DetectorSource(part, files, runs, provenance.sets, ())


def _from_onnx(path: Path, folder: Path) -> DetectorSource:
    try:
        shutil.copyfile(path, folder / DETECTOR_FILE)
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}") from error
    plain = pack_file(folder, DETECTOR_FILE)
    part = DetectorPart(file=plain.file, sha256=plain.sha256)
    detector = open_detector(folder, part)
    part = part.model_copy(update={"input_width": detector.input_width, "input_height": detector.input_height})
    return DetectorSource(part, (), (), (), ())


def _from_pack(named: str, folder: Path) -> DetectorSource:
    try:
        source = find_pack(named)
        pack = read_pack(source)
        verify_pack(source, pack, checkpoints=True)
    except PackError as error:
        raise ExportError(
            f"{named} is no detector: neither a checkpoint's folder, nor an .onnx file, nor a pack ({error})"
        ) from error
    shutil.copyfile(source / pack.detector.file, folder / DETECTOR_FILE)
    files = tuple(entry for entry in pack.checkpoints if entry.file.startswith(f"{_PART}/"))
    for entry in files:
        (folder / _PART).mkdir(exist_ok=True)
        shutil.copyfile(source / entry.file, folder / entry.file)
    open_detector(folder, pack.detector.model_copy(update={"file": DETECTOR_FILE}))
    return DetectorSource(
        pack.detector.model_copy(update={"file": DETECTOR_FILE}),
        files,
        tuple(run for run in pack.training if run.part == _PART),
        (),
        tuple(entry for entry in pack.training_data if entry.name == DETECTION),
        f"{pack.name}: {pack.license}",
        tuple(figure for figure in pack.measured if figure.task == DETECTION),
    )


def read_stored(folder: Path) -> tuple[MultiTaskNetwork, dict[str, Tensor]]:
    """A pack's own analyzer checkpoint: the network and its tensors, float32.

    Raises:
        ExportError: if it cannot be used.
    """
    try:
        network = load_network(folder)
        return network, load_tensors(folder / WEIGHTS)
    except CheckpointError as error:
        raise ExportError(str(error)) from error
