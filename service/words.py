"""Words: an answer's faces and verdicts as people read them, in a terminal's table or on a picture.

Made from the same answers that HTTP gives. Never prints and never asks for anything.
"""

from typing import Final

from rich import box
from rich.table import Table

from service.drawing import Mark
from service.schemas import FaceAnswer, ImageAnswer

_LIKELY: Final = 0.5
_SAID_BY_GENDER: Final = frozenset({"male"})  # which says it better, where a pack has that task
_NUM_TOP: Final = 3
_NEVER_WRAPPED: Final = frozenset({"face", "score", "age"})  # on a narrow terminal the others may take several lines


def counted(number: int, noun: str) -> str:
    """A number with its noun: `6 faces`, `1 face`, `0 faces`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def faces_table(image: ImageAnswer) -> Table:
    """A table of one image's faces, a row each; a column only where some face has what it shows."""
    columns = {
        "face": [str(number) for number, _ in enumerate(image.faces, 1)],
        "box": [" ".join(f"{value:.0f}" for value in face.box) for face in image.faces],
        "score": [_number(face.score) for face in image.faces],
        "age": ["" if face.age is None else f"{face.age.years:.0f}" for face in image.faces],
        "gender": [_gender(face) for face in image.faces],
        "expression": [_best(face) for face in image.faces],
        "race": [_race(face) for face in image.faces],
        "attributes": [", ".join(top_attributes(face)) for face in image.faces],
        "quality": [_quality(face) for face in image.faces],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in shown:
        right = name in ("face", "score", "age")
        table.add_column(name, justify="right" if right else "left", no_wrap=name in _NEVER_WRAPPED)
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def top_attributes(face: FaceAnswer, most: int = _NUM_TOP) -> list[str]:
    """The attributes that are likelier than not, likeliest first, with their probabilities."""
    ranked = sorted((face.attributes or {}).items(), key=lambda item: -item[1])
    told = _SAID_BY_GENDER if face.gender is not None else frozenset()
    likely = [(name, share) for name, share in ranked if share >= _LIKELY and name not in told]
    return [f"{name.replace('_', ' ')} {share:.2f}" for name, share in likely[:most]]


def marks(image: ImageAnswer) -> list[Mark]:
    """What to draw for one image's faces: number, gender and age, expression; of a pack without them, what there is."""
    return [_mark(face, number) for number, face in enumerate(image.faces, 1)]


def verdict(
    same: bool | None, similarity: float, threshold: float | None, fmr: float | None, confidence: float | None
) -> str:
    """One line: the same person or not, and by what it was decided."""
    words = {True: "same person", False: "different people", None: "no verdict without a threshold"}[same]
    parts = [f"similarity {similarity:.3f}"]
    if threshold is not None:
        parts.append(f"threshold {threshold:.3f}")
    if fmr is not None:
        parts.append(f"false-match rate {fmr:g}")
    if confidence is not None:
        parts.append(f"confidence {confidence:.3f}")
    return f"{words} ({', '.join(parts)})"


def _mark(face: FaceAnswer, number: int) -> Mark:
    who = [str(number)]
    if face.gender is not None:
        who.append(face.gender.label)
    if face.age is not None:
        who.append(f"{face.age.years:.0f}")
    lines = [" ".join(who), *_more(face, alone=len(who) == 1)]
    points: tuple[tuple[float, float], ...] = ()
    if face.landmarks is not None:
        spots = face.landmarks
        pairs = (spots.left_eye, spots.right_eye, spots.nose, spots.mouth_left, spots.mouth_right)
        points = tuple((x, y) for x, y in pairs)
    x1, y1, x2, y2 = face.box
    return Mark((x1, y1, x2, y2), points, tuple(lines))


def _more(face: FaceAnswer, *, alone: bool) -> list[str]:
    """The expression; where there is neither that nor gender nor age, race or the likeliest attributes."""
    if face.expression is not None:
        return [face.expression.label]
    if not alone:
        return []
    return top_attributes(face, 2) if face.race is None else [face.race.label]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _gender(face: FaceAnswer) -> str:
    return "" if face.gender is None else f"{face.gender.label} {face.gender.probability:.2f}"


def _best(face: FaceAnswer) -> str:
    found = face.expression
    return "" if found is None else f"{found.label} {found.probabilities[found.label]:.2f}"


def _race(face: FaceAnswer) -> str:
    return "" if face.race is None else f"{face.race.label} {face.race.probabilities[face.race.label]:.2f}"


def _quality(face: FaceAnswer) -> str:
    found = face.quality
    if found is None:
        return ""
    return f"{found.size:.0f} px, sharp {found.sharpness:.2f}, yaw {found.yaw:+.0f}°, pitch {found.pitch:+.0f}°"
