"""The request: what a person asked to be explained, walked from files to pictures.

Holds the walk over images and what is written: a picture an image, and `explanations.json` with every map in numbers.
Never reads the command line and never prints.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from model.analyzer import Analyzer
from model.runtime.detection import Detector
from model.runtime.pack import DEFAULT_PACK, Alignment
from model.training.explain.aims import ExplainError, parse_aim
from model.training.explain.explanation import Explanation, embed, explain, open_subject
from model.training.explain.faces import Cropping, Photograph, open_detector, read_crop, read_photograph
from model.training.explain.gradcam import LAST_LEVEL, Method, default_method
from model.training.explain.picture import draw_explanations

REPORT: Final = "explanations.json"


@dataclass(frozen=True, slots=True)
class Request:
    """What to explain, on what and how.

    Attributes:
        target: a checkpoint's folder, a training run's, or a pack that carries a checkpoint.
        images: photographs, or aligned crops.
        tasks: see `aims.parse_aim`.
        out: folder for the pictures.
        detector: the pack whose detector finds the faces.
        aligned: the images are aligned crops.
        alignment: of the crops that are cut; None for the pack's, or ArcFace's.
        max_faces: of a photograph, the largest first.
        reference: image of whom the embedding is compared with.
        method: how a map is weighed, see `gradcam`; None for what suits the network.
        level: of the trunk's maps.
        num_threads: torch's; 0 leaves its own choice.
    """

    target: str
    images: tuple[Path, ...]
    tasks: tuple[str, ...]
    out: Path
    detector: str = DEFAULT_PACK
    aligned: bool = False
    alignment: Alignment | None = None
    max_faces: int = 8
    reference: Path | None = None
    method: Method | None = None
    level: int = LAST_LEVEL
    num_threads: int = 0


@dataclass(frozen=True, slots=True)
class ExplainedFace:
    """One map as `explanations.json` has it; `box` is null for an aligned crop, and `grid` rows of the map."""

    image: str
    picture: str
    face: int
    box: tuple[float, ...] | None
    task: str
    label: str
    caption: str
    grid: tuple[tuple[float, ...], ...]


_REPORT: Final = TypeAdapter(tuple[ExplainedFace, ...])


@dataclass(frozen=True, slots=True)
class Outcome:
    """The pictures that were drawn, and which images had no face."""

    pictures: tuple[Path, ...]
    faceless: tuple[Path, ...]


def explain_images(request: Request, progress: Callable[[], None] | None = None) -> Outcome:
    """Explains every face of every image, and writes the pictures.

    Args:
        request: what.
        progress: called after each image.

    Raises:
        CheckpointError, PackError, SessionError: if network or detector cannot be opened.
        ExplainError: on a task, class, level or image that cannot be used, or where no image has a face.
        OSError: if the folder cannot be written.
    """
    if request.num_threads > 0:
        torch.set_num_threads(request.num_threads)
    subject = open_subject(request.target)
    analyzer = subject.analyzer
    aims = [parse_aim(text, analyzer.tasks) for text in request.tasks]
    read = _reader(request, analyzer, request.alignment or subject.alignment, subject.box_scale)
    reference = _reference(request, analyzer, read)
    method = request.method or default_method(analyzer.network.config)
    request.out.mkdir(parents=True, exist_ok=True)
    written, faceless, rows = list[Path](), list[Path](), list[ExplainedFace]()
    names = _file_names(request.images)
    for image, name in zip(request.images, names, strict=True):
        photograph = read(image)
        faces = explain(analyzer, photograph.crops, aims, method=method, level=request.level, reference_D=reference)
        if faces:
            written.append(draw_explanations(photograph, faces, method, request.out / name))
            rows += _rows(photograph, name, faces)
        else:
            faceless.append(image)
        if progress is not None:
            progress()
    if not written:
        raise ExplainError(f"no face found on {', '.join(str(path) for path in faceless)}")
    (request.out / REPORT).write_bytes(_REPORT.dump_json(tuple(rows), indent=1) + b"\n")
    return Outcome(tuple(written), tuple(faceless))


def read_explanations(folder: Path) -> tuple[ExplainedFace, ...]:
    """Reads what `explain_images` wrote beside the pictures."""
    return _REPORT.validate_json((folder / REPORT).read_bytes())


def _reader(
    request: Request, analyzer: Analyzer, alignment: Alignment, box_scale: float | None
) -> Callable[[Path], Photograph]:
    if request.aligned:
        return lambda path: read_crop(path, analyzer.side_px)
    detector: Detector = open_detector(request.detector, max(request.num_threads, 1))
    cropping = Cropping(analyzer.side_px, alignment, box_scale, request.max_faces)
    return lambda path: read_photograph(path, detector, cropping)


def _reference(request: Request, analyzer: Analyzer, read: Callable[[Path], Photograph]) -> NDArray[np.float32] | None:
    if request.reference is None:
        return None
    if "embedding" not in analyzer.tasks:
        raise ExplainError("the network answers no embedding, so there is nothing to compare with --reference")
    crops = read(request.reference).crops
    if not len(crops):
        raise ExplainError(f"no face found on {request.reference}")
    return embed(analyzer, crops[0])


def _rows(photograph: Photograph, picture: str, faces: Sequence[Sequence[Explanation]]) -> Iterable[ExplainedFace]:
    for face, explanations in enumerate(faces):
        box = None if photograph.boxes is None else tuple(photograph.boxes[face].tolist())
        for each in explanations:
            grid = tuple(tuple(row) for row in each.grid.tolist())
            yield ExplainedFace(str(photograph.path), picture, face + 1, box, each.aim, each.label, each.caption, grid)


def _file_names(images: Sequence[Path]) -> list[str]:
    """`stem.png`, and `stem-2.png` for another image of the same name."""
    names: list[str] = []
    for image in images:
        name, number = f"{image.stem}.png", 1
        while name in names:
            number += 1
            name = f"{image.stem}-{number}.png"
        names.append(name)
    return names
