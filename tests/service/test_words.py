"""Words for answers: tables with the columns that there is something for, marks to draw, and verdicts."""

import io

import pytest
from rich.console import Console

from service.schemas import FaceAnswer, ImageAnswer
from service.words import counted, faces_table, marks, top_attributes, verdict

LANDMARKS = {
    "left_eye": [20, 30],
    "right_eye": [40, 30],
    "nose": [30, 40],
    "mouth_left": [22, 50],
    "mouth_right": [38, 50],
}
FULL = FaceAnswer.model_validate({
    "box": [10.4, 20.6, 50, 70],
    "score": 0.987,
    "landmarks": LANDMARKS,
    "age": {"years": 31.4},
    "gender": {"label": "female", "probability": 0.97},
    "expression": {"label": "happiness", "probabilities": {"happiness": 0.9, "neutral": 0.1}},
    "attributes": {"male": 0.99, "smiling": 0.8, "wearing_hat": 0.6, "bald": 0.1, "young": 0.95, "bangs": 0.5},
    "quality": {"sharpness": 0.8, "yaw": -4.1, "pitch": 2.0, "roll": 0.3, "size": 39.6},
})  # fmt: skip
BARE = FaceAnswer.model_validate({"box": [0, 0, 112, 112], "score": None, "landmarks": None, "quality": None})


def image_of(*faces: FaceAnswer) -> ImageAnswer:
    return ImageAnswer(name="a.jpg", width=100, height=100, error=None, faces=list(faces))


def shown(image: ImageAnswer) -> list[str]:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(faces_table(image))
    return [line.strip() for line in captured.get().splitlines() if line.strip()]


def test_a_table_has_a_row_for_each_face_with_what_was_answered() -> None:
    """Every answer of a face is in its row, with units where there are some."""
    header, _, row = shown(image_of(FULL))
    assert header.split() == ["face", "box", "score", "age", "gender", "expression", "attributes", "quality"]
    for text in ("10 21 50 70", "0.99", "31", "female 0.97", "happiness 0.90", "young 0.95", "40 px", "yaw -4°"):
        assert text in row


def test_a_column_that_no_face_fills_is_left_out() -> None:
    """An aligned crop without tasks has a box and nothing else; next to a full face its cells are empty."""
    assert shown(image_of(BARE))[0].split() == ["face", "box"]
    rows = shown(image_of(FULL, BARE))
    assert rows[0].split()[2:4] == ["score", "age"]
    assert rows[-1].split() == ["2", "0", "0", "112", "112"]


def test_top_attributes_are_those_likelier_than_not_and_not_gender_again() -> None:
    """Sorted by probability, at most as many as asked for; `male` is said by the gender task."""
    assert top_attributes(FULL) == ["young 0.95", "smiling 0.80", "wearing hat 0.60"]
    assert top_attributes(FULL, most=9) == ["young 0.95", "smiling 0.80", "wearing hat 0.60", "bangs 0.50"]
    assert top_attributes(BARE) == []


def test_marks_carry_box_points_and_a_label() -> None:
    """What is drawn is what was answered; a face without landmarks has no points."""
    drawn = marks(image_of(FULL, BARE))
    assert drawn[0].box == (10.4, 20.6, 50.0, 70.0)
    assert drawn[0].points[2] == (30.0, 40.0)
    assert [(mark.lines, len(mark.points)) for mark in drawn] == [(("1 female 31", "happiness"), 5), (("2",), 0)]


def test_a_face_of_a_pack_without_gender_age_and_expression_says_what_there_is() -> None:
    """Race, or the likeliest attributes (`male` too, which no gender says then), are drawn, and fill the table."""
    attributes = BARE.model_copy(update={"attributes": {"male": 0.99, "smiling": 0.8, "bald": 0.7}})
    shares = {"white": 0.1, "asian": 0.9}
    race = FaceAnswer.model_validate({**BARE.model_dump(), "race": {"label": "asian", "probabilities": shares}})
    drawn = marks(image_of(attributes, race, BARE))
    assert [mark.lines for mark in drawn] == [("1", "male 0.99", "smiling 0.80"), ("2", "asian"), ("3",)]
    header, _, row = shown(image_of(attributes))
    assert header.split() == ["face", "box", "attributes"]
    assert "male 0.99, smiling 0.80, bald 0.70" in row


@pytest.mark.parametrize(
    ("same", "threshold", "fmr", "confidence", "text"),
    [
        (True, 0.34, 0.001, 0.99,
         "same person (similarity 0.612, threshold 0.340, false-match rate 0.001, confidence 0.990)"),
        (False, 0.7, None, None, "different people (similarity 0.612, threshold 0.700)"),
        (None, None, None, None, "no verdict without a threshold (similarity 0.612)"),
    ],
)  # fmt: skip
def test_a_verdict_says_by_what_it_was_decided(
    same: bool | None, threshold: float | None, fmr: float | None, confidence: float | None, text: str
) -> None:
    """Same or different, and the figures that there are."""
    assert verdict(same, 0.6119, threshold, fmr, confidence) == text


def test_one_is_singular() -> None:
    """Numbers and nouns agree."""
    assert [counted(number, "face") for number in (0, 1, 6)] == ["0 faces", "1 face", "6 faces"]
