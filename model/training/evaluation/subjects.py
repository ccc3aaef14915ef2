"""Subjects: what is evaluated, opened from where it lies: a checkpoint of the analyzer, or a pack's ONNX files.

Holds the opening and one way to ask either, whatever the sides of its crops. Never measures an answer.
Shape suffixes: N faces; S crop side; C channels; D embedding length.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.analyzer import Analyzer, normalise
from model.checkpoint import WEIGHTS, load_network
from model.runtime.pack import Alignment, Pack
from model.runtime.session import Session, SessionError, open_session
from model.training.evaluation.calibration import Temperatures
from model.training.evaluation.confidence import Curve
from model.training.evaluation.embedding import Embed
from model.training.evaluation.validation import Predict

DeviceChoice = Literal["auto", "cpu", "cuda"]
ARCFACE: Final = "arcface-5pt"  # of a set's crops, unless its files say otherwise


class SubjectError(ValueError):
    """Something that cannot be evaluated; the message is one clear line for the person who named it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that answers crops.

    Attributes:
        name: what the report calls it.
        predict: uint8 (N, S, S, 3) RGB crops of any side to answers by task.
        embed: the embedding alone, float32 (N, D), before it is brought to unit length where `unit_length` is False;
            None for what answers none.
        unit_length: whether `embed` gives rows of unit length, as a pack does; a length says how sure a network is,
            and the published protocols let it weigh.
        temperatures: those that `predict` answers at, by task; 1 where a task is absent.
    """

    name: str
    predict: Predict
    embed: Embed | None = None
    unit_length: bool = True
    temperatures: Temperatures = field(default_factory=dict)


def checkpoint_folder(path: Path) -> Path | None:
    """The checkpoint that a path names: the folder itself, or the averaged weights of a training run; else None."""
    for folder in (path, path / "ema"):
        if (folder / WEIGHTS).is_file():
            return folder
    return None


def open_checkpoint(folder: Path, device: DeviceChoice = "auto", num_threads: int = 0) -> Subject:
    """Opens an analyzer's checkpoint.

    Args:
        folder: with `weights.safetensors` and `config.json`.
        device: `auto` takes CUDA where torch finds it.
        num_threads: torch's on the CPU; 0 leaves them as they are.

    Raises:
        CheckpointError: if the checkpoint cannot be used.
        SubjectError: if CUDA was asked for and torch finds none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SubjectError("cuda was asked for, but torch finds no CUDA device")
    if num_threads > 0:
        torch.set_num_threads(num_threads)
    chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    analyzer = Analyzer(load_network(folder)).eval().to(chosen)

    def predict(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        crops = torch.from_numpy(resized(images_NSSC, analyzer.side_px)).to(chosen)
        with torch.inference_mode():
            answers = analyzer(crops)
        return {task: np.asarray(answer.cpu().numpy(), np.float32) for task, answer in answers.items()}

    def embed(images_NSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        crops = torch.from_numpy(resized(images_NSSC, analyzer.side_px)).to(chosen)
        with torch.inference_mode():
            raw = analyzer.network(normalise(crops, analyzer.network.config.pixels))["embedding"]
        return np.asarray(raw.float().cpu().numpy(), np.float32)

    return Subject(
        str(folder),
        predict,
        embed=embed if "embedding" in analyzer.tasks else None,
        unit_length=False,
        temperatures={task: analyzer.temperatures.of(task) for task in analyzer.tasks},
    )


def open_pack(
    folder: Path,
    pack: Pack,
    device: DeviceChoice = "auto",
    num_threads: int = 1,
    alignment: Alignment = ARCFACE,
) -> Subject | None:
    """Opens the analyzers of a pack that take crops in one alignment, each at its own side; None if there is none.

    Raises:
        SessionError: if a graph does not load, or CUDA was asked for and cannot be had.
    """
    parts = [part for part in pack.analyzers if part.alignment == alignment]
    if not parts:
        return None
    asks = [_ask(open_on(folder / part.file, device, num_threads), part.side_px, part.tasks) for part in parts]

    def predict(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {task: answer for ask in asks for task, answer in ask(images_NSSC).items()}

    embed = next(
        (_only_embedding(ask) for ask, part in zip(asks, parts, strict=True) if "embedding" in part.tasks), None
    )
    return Subject(f"{pack.name} {pack.version}", predict, embed)


class PackSubjects:
    """A pack's analyzers, grouped by the alignment of the crops that they take, and opened when a set first asks."""

    def __init__(self, folder: Path, pack: Pack, device: DeviceChoice = "auto", num_threads: int = 1) -> None:
        self.name = f"{pack.name} {pack.version}"
        self._folder, self._pack, self._device, self._num_threads = folder, pack, device, num_threads
        self._opened: dict[str, Subject | None] = {}
        curve = None if pack.verification is None else pack.verification.confidence
        self.confidence = None if curve is None else Curve(curve.similarities, curve.log_ratios)
        self.temperatures: Temperatures = {
            task: value for part in pack.analyzers for task, value in part.temperatures.items()
        }

    def on(self, alignment: str) -> Subject | None:
        """The analyzers that take crops of this alignment; None where there is none.

        Raises:
            SessionError: if a graph does not load, or CUDA was asked for and cannot be had.
        """
        if alignment not in self._opened:
            taken = next((part.alignment for part in self._pack.analyzers if part.alignment == alignment), None)
            self._opened[alignment] = (
                None if taken is None else open_pack(self._folder, self._pack, self._device, self._num_threads, taken)
            )
        return self._opened[alignment]

    def predict_on(self, alignment: str) -> Predict | None:
        """The same, as `validation.evaluate_aligned` asks for it."""
        subject = self.on(alignment)
        return None if subject is None else subject.predict

    def notes(self) -> tuple[str, ...]:
        """A line for every analyzer whose crops no set held."""
        return tuple(
            f"{part.file}: takes {part.alignment} crops and no set holds such, left out"
            for part in self._pack.analyzers
            if part.alignment not in self._opened
        )


def open_on(model: Path, device: DeviceChoice, num_threads: int = 1) -> Session:
    """Opens a graph on the device asked for; `auto` takes CUDA where torch and onnxruntime both have it."""
    if device == "auto" and torch.cuda.is_available():
        try:
            return open_session(model, device="cuda", intra_op_threads=num_threads)
        except SessionError:
            pass  # an onnxruntime without CUDA: `auto` promises no device
    return open_session(model, device="cuda" if device == "cuda" else "cpu", intra_op_threads=num_threads)


def resized(images_NSSC: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Crops (N, S, S, 3) at another side, by area where they shrink; as they are where they fit."""
    if images_NSSC.shape[1] == side_px:
        return images_NSSC
    how = cv2.INTER_AREA if side_px < images_NSSC.shape[1] else cv2.INTER_LINEAR
    return np.stack([np.asarray(cv2.resize(image, (side_px, side_px), interpolation=how)) for image in images_NSSC])


def _only_embedding(ask: Predict) -> Embed:
    return lambda images_NSSC: ask(images_NSSC)["embedding"]


def _ask(
    session: Session, side_px: int, tasks: Sequence[str]
) -> Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]:
    def ask(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return session.run({session.inputs[0].name: resized(images_NSSC, side_px)}, tasks)

    return ask
