"""Rows: a face as a row of a table: which columns there are, and what stands in each.

One order of columns for `.csv` and `.parquet`; a `.jsonl` row has a face's keys of `POST /analyze`'s answer. Never
writes a file, and never drops a digit of what the network answered.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, LANDMARKS, RACES, TASKS, Task
from service.analysis import ImageResult
from service.answers import Json, face_answer
from service.tables import Kind

Cell = str | int | np.float32 | NDArray[np.float32] | None
PREDICTED: Final[tuple[Task, ...]] = ("race", "gender", "age")  # what a row of face_analysis_pytorch's `predict` has
_POINTS: Final = tuple(f"{point}_{axis}" for point in LANDMARKS for axis in "xy")
_BOX: Final = ("box_x1", "box_y1", "box_x2", "box_y2")
_QUALITY: Final = ("sharpness", "yaw", "pitch", "roll", "size")
_LABELS: Final[Mapping[Task, tuple[str, ...]]] = {"gender": GENDERS, "expression": EXPRESSIONS, "race": RACES}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, and what its cells are: text, whole numbers, float32, or float32 (D,)."""

    name: str
    kind: Kind


def columns(tasks: Sequence[Task]) -> tuple[Column, ...]:
    """The columns of a table of faces that were asked for `tasks`; the embedding is the last."""
    names = ["path", "face", "num_faces", "width", "height"]
    found = [Column(name, "text" if name == "path" else "whole") for name in names]
    numbers = (*_BOX, "score", *_POINTS, *(f"quality_{name}" for name in _QUALITY))
    found += [Column(name, "number") for name in numbers]
    for task in _in_order(tasks):
        found += _task_columns(task)
    return tuple(found)


def cells(path: str, image: ImageResult, tasks: Sequence[Task], embedding_space: str | None) -> Iterator[list[Cell]]:
    """A row for each face of an image, largest first, in the order of `columns`; None where there is nothing to say."""
    for number, face in enumerate(image.faces, 1):
        row: list[Cell] = [path, number, len(image.faces), image.width, image.height]
        row += [*_numbers(face.box, 4), None if face.score is None else np.float32(face.score)]
        row += _numbers(face.landmarks, len(_POINTS))
        row += [None if face.quality is None else np.float32(getattr(face.quality, name)) for name in _QUALITY]
        for task in _in_order(tasks):
            row += _task_cells(task, face.outputs[task], embedding_space)
        yield row


def objects(path: str, image: ImageResult, embedding_space: str | None) -> Iterator[Json]:
    """A JSON object for each face of an image: where it is from, and the face as `POST /analyze` answers it."""
    for number, face in enumerate(image.faces, 1):
        place: Json = {"path": path, "face": number, "num_faces": len(image.faces)}
        size: Json = {"width": image.width, "height": image.height}
        space: Json = {"embedding_space": embedding_space} if "embedding" in face.outputs else {}
        yield {**place, **size, **face_answer(face), **space}


def prediction(image: ImageResult) -> list[str]:
    """What face_analysis_pytorch's lists say of the largest face: race, gender and age, those that were asked for.

    Race is 0 white, 1 black, 2 asian, 3 indian, 4 other; gender 0 female, 1 male; age whole years.
    """
    outputs = image.faces[0].outputs
    classes = [str(int(np.argmax(outputs[task]))) for task in PREDICTED[:2] if task in outputs]
    return [*classes, *([str(round(float(outputs["age"])))] if "age" in outputs else [])]


def shown(path: Path) -> str:
    """A path as text that every form can hold: what is no UTF-8 in a file's name becomes a question mark."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def as_base64(values: NDArray[np.float32]) -> str:
    """An embedding as base64 of little-endian float32: `numpy.frombuffer(base64.b64decode(text), "<f4")`."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def from_base64(text: str) -> NDArray[np.float32]:
    """What `as_base64` was given.

    Raises:
        ValueError: if it is not base64 of float32 numbers.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)


def _in_order(tasks: Sequence[Task]) -> list[Task]:
    return [task for task in (*TASKS[1:], TASKS[0]) if task in tasks]  # embeddings last: they make a line long


def _task_columns(task: Task) -> list[Column]:
    if task == "embedding":
        return [Column("embedding_space", "text"), Column("embedding", "vector")]
    if task == "age":
        return [Column("age", "number")]
    if task == "attributes":
        return [Column(f"attribute_{name}", "number") for name in ATTRIBUTES]
    return [Column(task, "text"), *(Column(f"{task}_{label}", "number") for label in _LABELS[task])]


def _task_cells(task: Task, values: NDArray[np.float32], embedding_space: str | None) -> list[Cell]:
    if task == "embedding":
        return [embedding_space, values]
    numbers = _numbers(values, values.size)
    if task in ("age", "attributes"):
        return numbers
    return [_LABELS[task][int(np.argmax(values))], *numbers]


def _numbers(values: NDArray[np.float32] | None, num: int) -> list[Cell]:
    return [None] * num if values is None else list(values.astype(np.float32).ravel())
