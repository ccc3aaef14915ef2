"""Aims: what of a network's answers is explained, from the text that names it to the number whose gradient is taken.

Holds the names of tasks and classes, the score of each, and its words for a caption. Never takes a gradient (see
`gradcam`). Shape suffixes: N faces; C classes; A attributes; R ranks; D embedding length.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, Task

CLASSES: Final[Mapping[Task, tuple[str, ...]]] = {
    "gender": GENDERS,
    "race": RACES,
    "expression": EXPRESSIONS,
    "attributes": ("no", "yes"),
    "age": ("younger", "older"),
    "embedding": (),
}
_OLDER: Final = 1
_Name = TypeVar("_Name", bound=str)


class ExplainError(ValueError):
    """Something that cannot be explained; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Aim:
    """One answer to explain.

    Attributes:
        text: as it was typed, e.g. `attributes.eyeglasses`.
        task: whose answer.
        attribute: which of CelebA's forty, by its column; None for other tasks.
        chosen: an index into `CLASSES[task]`; None for each face's own predicted class.
    """

    text: str
    task: Task
    attribute: int | None = None
    chosen: int | None = None


def parse_aim(text: str, tasks: tuple[Task, ...]) -> Aim:
    """Reads `age`, `expression`, `expression.fear`, `attributes.eyeglasses`, `attributes.eyeglasses.yes` and so on.

    Args:
        text: task, then an attribute's name if the task is `attributes`, then, if one is meant, a class.
        tasks: what the network answers.

    Raises:
        ExplainError: naming what is not known, and the nearest name that is.
    """
    name, *rest = text.lower().split(".")
    task: Task = _found(name, tasks, "the network answers no task", "it answers")
    attribute = None
    if task == "attributes":
        if not rest:
            raise ExplainError("attributes are explained one by one: attributes.eyeglasses, for one")
        attribute = ATTRIBUTES.index(_found(rest.pop(0), ATTRIBUTES, "no attribute is named"))
    chosen = None
    if rest:
        classes = CLASSES[task]
        if not classes:
            raise ExplainError(f"{task} has no classes; name it alone")
        chosen = classes.index(_found(rest.pop(0), classes, f"no class of {task} is named", "there are"))
    if rest:
        raise ExplainError(f"{text!r} says more than task, attribute and class")
    return Aim(text, task, attribute, chosen)


def chosen_classes(aim: Aim, answers: Mapping[str, NDArray[np.float32]], num_faces: int) -> NDArray[np.int64]:
    """The class (N,) that each face is explained for: the one asked for, else the predicted one; `older` for an age."""
    if aim.chosen is not None:
        return np.full(num_faces, aim.chosen, np.int64)
    if aim.task == "age":
        return np.full(num_faces, _OLDER, np.int64)
    if aim.task == "embedding":
        return np.zeros(num_faces, np.int64)
    answer = answers[aim.task]
    if aim.attribute is not None:
        return (answer[:, aim.attribute] > 0.5).astype(np.int64)
    return np.asarray(answer.argmax(1), np.int64)


def score(aim: Aim, raw: Mapping[str, Tensor], classes_N: Tensor, reference_D: Tensor | None = None) -> Tensor:
    """The number (N,) that Grad-CAM asks about: what rises as the network is surer of a face's class.

    A class's logit; an attribute's logit of yes less that of no, or its negative for `no`; years, or the expected
    number of ranks passed, or their negative for `younger`; the embedding's length along its own direction, or its
    cosine to `reference_D`.

    Args:
        aim: the answer.
        raw: the network's raw answers.
        classes_N: int64, see `chosen_classes`.
        reference_D: an embedding to compare with, for the task `embedding`.
    """
    out = raw[aim.task]
    if aim.task == "embedding":
        if reference_D is not None:
            return F.cosine_similarity(out, reference_D[None], dim=1)
        # Its own direction is held fixed: the gradient then tells what gives the vector its length.
        return (out * F.normalize(out.detach(), dim=1)).sum(1)
    if aim.task == "age":
        years_N = torch.sigmoid(out).sum(1) if out.ndim == 2 else out
        return years_N * (2 * classes_N - 1)
    if aim.attribute is not None:
        yes_N = out[:, aim.attribute]
        return (yes_N[:, 1] - yes_N[:, 0] if yes_N.ndim == 2 else yes_N) * (2 * classes_N - 1)
    return out.gather(1, classes_N[:, None]).squeeze(1)


def caption(
    aim: Aim, answers: Mapping[str, NDArray[np.float32]], face: int, chosen: int, reference: NDArray[np.float32] | None
) -> str:
    """What a picture says above a map: `eyeglasses: no (97 %)`, `age: older (31.4 years)`."""
    answer = answers[aim.task][face]
    if aim.task == "embedding":
        # Unit rows, so that the product is the cosine.
        return "embedding: its length" if reference is None else f"similarity: {float(answer @ reference):.2f}"
    label = CLASSES[aim.task][chosen]
    if aim.task == "age":
        return f"age: {label} ({float(answer):.1f} years)"
    if aim.attribute is None:
        return f"{aim.task}: {label} ({float(answer[chosen]):.0%})".replace("%", " %")
    yes = float(answer[aim.attribute])
    name = ATTRIBUTES[aim.attribute].replace("_", " ")
    return f"{name}: {label} ({yes if chosen else 1 - yes:.0%})".replace("%", " %")


def _found(name: str, known: tuple[_Name, ...], complaint: str, listing: str = "") -> _Name:
    for each in known:
        if each == name:
            return each
    near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
    if near:
        raise ExplainError(f"{complaint} {name!r}; did you mean {near[0]!r}?")
    listed = f"; {listing} {', '.join(known)}" if listing else ""
    raise ExplainError(f"{complaint} {name!r}{listed}")
