"""Explanation: from a checkpoint and photographs to maps of where the network looked, face by face.

Holds the opening of the network and the walk over faces and answers. Never draws (see `picture`) and never reads the
command line. Shape suffixes: N faces; S crop side; C channels; D embedding length; H, W places of a map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.analyzer import Analyzer
from model.checkpoint import load_network
from model.runtime.pack import Alignment, AnalyzerPart, PackError, find_pack, read_pack
from model.training.evaluation.subjects import ARCFACE, checkpoint_folder
from model.training.explain.aims import CLASSES, Aim, ExplainError, caption, chosen_classes, score
from model.training.explain.gradcam import LAST_LEVEL, Method, class_activation, default_method
from model.training.run_folder import alignment_beside

_BATCH: Final = 8  # a ConvNeXt-Base keeps some 250 MB of activations a face for its gradient


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to explain, and the crops that it was trained on as far as its place tells."""

    analyzer: Analyzer
    alignment: Alignment
    box_scale: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one face was answered as it was.

    Attributes:
        aim: the answer, as it was asked for.
        label: the class that was explained, empty where the task has none.
        caption: class and probability, or years.
        grid: float32 (H, W), what speaks for it, not scaled, none below 0.
    """

    aim: str
    label: str
    caption: str
    grid: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Way:
    method: Method
    level: int


def open_subject(target: str) -> Subject:
    """Opens a checkpoint, a training run's averaged weights, or the checkpoint that a pack carries.

    Raises:
        CheckpointError: if the checkpoint cannot be used.
        ExplainError: if there is none.
    """
    folder = checkpoint_folder(Path(target).expanduser())
    if folder is not None:
        return Subject(_opened(folder), "celeba" if alignment_beside(folder) == "celeba" else ARCFACE, None)
    try:
        pack_folder = find_pack(target)
        pack = read_pack(pack_folder)
    except PackError as error:
        raise ExplainError(f"no checkpoint at {target}, and {error}") from error
    for part in pack.analyzers:
        folder = checkpoint_folder(pack_folder / Path(part.file).stem)
        if folder is not None:
            return _of_pack(folder, part)
    raise ExplainError(f"pack {pack.name} carries no checkpoint, and a gradient needs one; name the checkpoint itself")


def explain(
    analyzer: Analyzer,
    crops_NSSC: NDArray[np.uint8],
    aims: Sequence[Aim],
    *,
    method: Method | None = None,
    level: int = LAST_LEVEL,
    reference_D: NDArray[np.float32] | None = None,
) -> list[list[Explanation]]:
    """Explains every answer on every face.

    Args:
        analyzer: in evaluation mode.
        crops_NSSC: uint8 (N, S, S, 3), of its side.
        aims: what to explain.
        method: see `gradcam`; None for the one that suits the network.
        level: of the trunk's maps, see `gradcam`.
        reference_D: an embedding of unit length to compare with, for the task `embedding`.

    Returns:
        A list a face, of one explanation an aim.

    Raises:
        ExplainError: as `class_activation`, or if a map is not finite.
    """
    how = _Way(method or default_method(analyzer.network.config), level)
    faces: list[list[Explanation]] = []
    for start in range(0, len(crops_NSSC), _BATCH):
        faces += _explain_batch(analyzer, crops_NSSC[start : start + _BATCH], aims, how, reference_D)
    return faces


def embed(analyzer: Analyzer, crop_SSC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One crop's embedding (D,), of unit length."""
    with torch.inference_mode():
        return np.asarray(analyzer(torch.from_numpy(crop_SSC[None]))["embedding"][0].numpy(), np.float32)


def _explain_batch(
    analyzer: Analyzer,
    crops_NSSC: NDArray[np.uint8],
    aims: Sequence[Aim],
    how: _Way,
    reference_D: NDArray[np.float32] | None,
) -> list[list[Explanation]]:
    images = torch.from_numpy(np.ascontiguousarray(crops_NSSC))
    with torch.inference_mode():
        answers = {task: np.asarray(answer.numpy(), np.float32) for task, answer in analyzer(images).items()}
    reference = None if reference_D is None else torch.from_numpy(reference_D)
    columns = [_explain_aim(analyzer, images, aim, answers, how, reference) for aim in aims]
    return [[column[face] for column in columns] for face in range(len(crops_NSSC))]


def _explain_aim(
    analyzer: Analyzer,
    images: Tensor,
    aim: Aim,
    answers: dict[str, NDArray[np.float32]],
    how: _Way,
    reference: Tensor | None,
) -> list[Explanation]:
    classes = chosen_classes(aim, answers, len(images))
    classes_N = torch.from_numpy(classes)
    maps = class_activation(
        analyzer.network, images, lambda raw: score(aim, raw, classes_N, reference), how.method, how.level
    )
    if not np.isfinite(maps).all():
        raise ExplainError(f"the map of {aim.text} is not finite: the network's weights are broken")
    vector = None if reference is None else np.asarray(reference.numpy(), np.float32)
    return [
        Explanation(
            aim.text,
            CLASSES[aim.task][chosen] if CLASSES[aim.task] else "",
            caption(aim, answers, face, chosen, vector),
            maps[face],
        )
        for face, chosen in enumerate(classes.tolist())
    ]


def _opened(folder: Path) -> Analyzer:
    return Analyzer(load_network(folder)).eval()


def _of_pack(folder: Path, part: AnalyzerPart) -> Subject:
    return Subject(_opened(folder), part.alignment, part.box_scale)
