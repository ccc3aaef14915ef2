import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.runtime.labels import ATTRIBUTES
from model.training.dataset import DataError
from model.training.evaluation.report import EvaluationReport
from model.training.evaluation.validation import (
    EvaluationError,
    evaluate,
    evaluate_aligned,
    find_measured,
    find_sets,
    predict_all,
)
from tests.model.training.evaluation.sets import Oracle, write_set

NUM_PEOPLE = 10
PER_PERSON = 4
NUM = NUM_PEOPLE * PER_PERSON


def _embeddings() -> NDArray[np.float32]:
    """One axis a person, so that genuine pairs are 1, impostors 0; the last face of person 0 is on person 1's axis."""
    rows = np.repeat(np.eye(NUM_PEOPLE, 16, dtype=np.float32), PER_PERSON, axis=0)
    rows[3] = rows[4]
    return rows


def _labels() -> dict[str, list[object]]:
    gender = [int(person % 2) for person in range(NUM_PEOPLE) for _ in range(PER_PERSON)]
    return {
        "identity": [f"my:{person}" for person in range(NUM_PEOPLE) for _ in range(PER_PERSON)],
        "gender": list(gender),
        "age": [float(5 + number) for number in range(NUM)],
        "race": [None if number % 2 else number % 5 for number in range(NUM)],
        "expression": [number % 7 for number in range(NUM)],
        "attributes": [[gender[number] if name == "male" else 0 for name in ATTRIBUTES] for number in range(NUM)],
    }


def _answers() -> dict[str, NDArray[np.float32]]:
    """Gender always female, age three years too old, race and expression right, `male` never, all else right."""
    number = np.arange(NUM)
    return {
        "embedding": _embeddings(),
        "age": (8.0 + number).astype(np.float32),
        "gender": np.tile(np.array([0.9, 0.1], np.float32), (NUM, 1)),
        "race": np.eye(5, dtype=np.float32)[number % 5],
        "expression": np.eye(7, dtype=np.float32)[number % 7],
        "attributes": np.full((NUM, 40), 0.2, np.float32),
    }


def _pairs() -> list[tuple[int, int, int, int]]:
    """Ten folds of one same and one different pair; fold 0's same pair is the one with the wrong face."""
    same = [(fold, 0 if fold == 0 else 4 * fold, 3 if fold == 0 else 4 * fold + 1, 1) for fold in range(10)]
    different = [(fold, 4 * fold, 4 * ((fold + 2) % 10), 0) for fold in range(10)]
    return [*same, *different]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder, "my", NUM, _labels(), _pairs())
    write_set(folder, "utkface", 12, {"age": [1.0] * 12, "gender": [0] * 12, "race": [None] * 12})
    return folder


@pytest.fixture(scope="module")
def report(data: Path) -> EvaluationReport:
    return evaluate(Oracle(_answers()), data, model="oracle", command="by hand", batch_size=7)


def test_every_labelled_task_is_measured_as_a_hand_would(report: EvaluationReport) -> None:
    """An oracle whose mistakes are known gives the figures that they are worth."""
    assert report.value("gender", "accuracy", "my") == 0.5
    assert report.value("gender", "balanced_accuracy", "my") == 0.5
    assert report.value("gender", "ece", "my") == pytest.approx(0.4)
    assert report.value("gender", "recall_female", "my") == 1
    assert report.value("age", "mae_years", "my") == pytest.approx(3)
    assert report.value("age", "bias_years", "my") == pytest.approx(3)
    assert report.value("age", "within_5_years", "my") == 1
    assert report.value("race", "accuracy", "my") == 1
    assert report.value("expression", "accuracy", "my") == 1
    assert report.value("attributes", "accuracy_mean", "my") == pytest.approx(39.5 / 40)
    assert report.value("attributes", "accuracy_male", "my") == 0.5
    assert report.value("attributes", "accuracy_bald", "my") == 1
    assert report.value("attributes", "balanced_accuracy_male", "my") == 0.5


def test_only_labelled_faces_are_counted(report: EvaluationReport) -> None:
    """Race is labelled on every second row, and its figure says so."""
    counted = {
        m.task: m.num_samples
        for m in report.measures
        if m.metric == "accuracy" and m.group == "all" and m.dataset == "my"
    }
    assert counted == {"gender": NUM, "race": NUM // 2, "expression": NUM}


def test_figures_are_also_stated_for_each_group(report: EvaluationReport) -> None:
    """A model that calls everyone female is right on women and wrong on men, in whichever group they are."""
    assert report.value("gender", "accuracy", "my", "gender=female") == 1
    assert report.value("gender", "accuracy", "my", "gender=male") == 0
    assert report.value("age", "mae_years", "my", "age=10-19") == pytest.approx(3)
    assert report.value("race", "accuracy", "my", "race=asian") == 1
    assert report.value("attributes", "accuracy_mean", "my", "gender=male") == pytest.approx(39 / 40)
    sizes = {m.group: m.num_samples for m in report.measures if m.metric == "mae_years" and m.dataset == "my"}
    assert sizes["age=0-9"] == 5
    assert sizes["age=10-19"] == 10
    assert sizes["age=40-49"] == 5


def test_verification_is_measured_over_folds_and_over_all_pairs(report: EvaluationReport) -> None:
    """One wrong face: its fold is half right, three of 60 genuine pairs are missed, four of 720 false."""
    assert report.value("embedding", "accuracy_10fold", "my") == pytest.approx((9 + 0.5) / 10)
    # At an FMR of 1e-2 seven false matches are allowed and four happen: the threshold is just above 0.
    assert report.curves[0].num_genuine == 60
    assert report.curves[0].num_impostor == 720
    notes = " ".join(report.notes)
    assert "my: an FMR of 0.01 needs 1,000 impostor pairs to be measured; there are 720" in notes
    assert report.value("embedding", "eer", "my") == pytest.approx((4 / 720 + 3 / 60) / 2)


def test_confusions_count_ages_by_decade(report: EvaluationReport) -> None:
    """Three years too old lifts three of ten faces of each decade into the next."""
    ages = next(each for each in report.confusions if each.task == "age" and each.dataset == "my")
    assert ages.counts[1][:4] == (0, 7, 3, 0)


def test_a_known_set_that_is_absent_is_left_out_with_a_line(report: EvaluationReport, data: Path) -> None:
    """LFW, CelebA and FER2013 are named as missing; one's own set is measured beside UTKFace."""
    assert [note for note in report.notes if "left out" in note] == [
        f"{name}: not in {data}, left out" for name in ("lfw", "celeba", "fer2013")
    ]
    assert {measure.dataset for measure in report.measures} == {"my", "utkface"}


def test_crops_are_asked_for_in_batches(data: Path) -> None:
    """No call is larger than the batch size, and every crop is asked once after the first look."""
    oracle = Oracle(_answers())
    evaluate(oracle, data, model="oracle", command="by hand", batch_size=16)
    assert max(oracle.batches) <= 16
    assert sum(oracle.batches) == 12 + 1 + NUM + 1


def test_a_quick_look_takes_whole_pairs_and_says_so(data: Path) -> None:
    """A limit of 20 images keeps one pair a fold and kind, and a set without pairs is spread over its rows."""
    oracle = Oracle(_answers())
    report = evaluate(oracle, data, model="oracle", command="by hand", limit=10)
    pairs = next(m for m in report.measures if m.metric == "accuracy_10fold" and m.group == "all")
    assert pairs.num_samples == 20
    ages = next(m for m in report.measures if m.dataset == "utkface" and m.metric == "mae_years")
    assert ages.num_samples == 10
    assert any("quick look" in note for note in report.notes)


def test_a_model_is_asked_only_for_what_it_answers(data: Path) -> None:
    """A model of ages alone is measured by ages alone, and a set without ages is left out."""
    report = evaluate(Oracle({"age": _answers()["age"]}), data, model="ages", command="by hand")
    assert {measure.task for measure in report.measures} == {"age"}
    assert not report.curves
    report = evaluate(Oracle({"expression": _answers()["expression"]}), data, model="faces", command="by hand")
    assert "utkface: labels nothing that the model answers, left out" in report.notes


@pytest.mark.parametrize(
    ("task", "bad", "words"), [("age", np.nan, "age is not finite"), ("embedding", 0.0, "embedding of zeros")]
)
def test_broken_answers_end_the_evaluation_with_a_clear_line(data: Path, task: str, bad: float, words: str) -> None:
    """One NaN age or one embedding of zeros among all rows is an error that names the task."""
    answers = _answers()
    answers[task][11] = bad
    with pytest.raises(EvaluationError, match=words):
        evaluate(Oracle(answers), data, model="broken", command="by hand")


def test_answers_of_another_length_are_refused() -> None:
    """A model that gives one answer for two faces is named."""
    with pytest.raises(EvaluationError, match="1 answers of age for 2 faces"):
        predict_all(lambda _: {"age": np.ones(1, np.float32)}, np.zeros((2, 112, 112, 3), np.uint8))


def test_a_folder_without_sets_is_a_data_error(tmp_path: Path) -> None:
    """No folder, and a folder of detection data alone, have one clear line each."""
    with pytest.raises(DataError, match="no data folder"):
        find_sets(tmp_path / "absent")
    (tmp_path / "detection-val.parquet").touch()
    with pytest.raises(DataError, match=r"holds no NAME-val\.parquet"):
        find_sets(tmp_path)


def test_a_test_split_is_measured_beside_the_validation_set(tmp_path: Path) -> None:
    """CelebA's published figures are of its test partition: it is a set of its own in the report."""
    write_set(tmp_path, "celeba", 12, {"age": [1.0] * 12})
    write_set(tmp_path, "celeba", 20, {"age": [8.0] * 20}, split="test")
    oracle = Oracle({"age": np.full(20, 5, np.float32)})
    report = evaluate(oracle, tmp_path, model="oracle", command="by hand")
    assert report.value("age", "mae_years", "celeba") == 4
    assert report.value("age", "mae_years", "celeba-test") == 3
    assert find_sets(tmp_path) == ("celeba",)
    assert find_measured(tmp_path) == (("celeba", "val"), ("celeba", "test"))


def test_a_test_split_alone_is_enough_to_measure(tmp_path: Path) -> None:
    """A folder without validation rows is measured on its test rows, cut into files or not."""
    write_set(tmp_path, "rafdb", 7, {"expression": list(range(7))}, split="test-00")
    write_set(tmp_path, "rafdb", 7, {"expression": list(range(7))}, split="test-01")
    report = evaluate(Oracle({"expression": np.eye(7, dtype=np.float32)}), tmp_path, model="o", command="c")
    assert report.value("expression", "accuracy", "rafdb-test") == 1
    assert report.measures[0].num_samples == 14
    with pytest.raises(DataError, match=r"holds no NAME-val\.parquet"):
        find_sets(tmp_path)


def test_apparent_ages_are_measured_by_their_own_deviations(tmp_path: Path) -> None:
    """CLAP's error by its formula, row by row, over the rows that have a deviation."""
    ages, sigmas = [20.0, 30.0, 40.0, 50.0], [2.0, 5.0, 0.5, None]
    write_set(tmp_path, "clap", 4, {"age": ages, "age_sigma": sigmas})
    oracle = Oracle({"age": np.array([22, 30, 43, 90], np.float32)})
    report = evaluate(oracle, tmp_path, model="oracle", command="by hand")
    expected = [1 - math.exp(-(2.0**2) / (2 * 2.0**2)), 0.0, 1 - math.exp(-(3.0**2) / (2 * 0.5**2))]
    assert report.value("age", "epsilon_error", "clap") == pytest.approx(sum(expected) / 3)
    assert report.value("age", "mae_years", "clap") == pytest.approx((2 + 0 + 3 + 40) / 4)
    rows = {row.metric: row.num_samples for row in report.measures if row.group == "all"}
    assert (rows["epsilon_error"], rows["mae_years"]) == (3, 4)
    few = evaluate(oracle, tmp_path, model="oracle", command="by hand", limit=2)
    assert few.value("age", "epsilon_error", "clap") == pytest.approx(expected[0])


def test_crops_of_another_side_are_asked_for_as_they_are(tmp_path: Path) -> None:
    """A set of 224-pixel crops in CelebA's alignment reaches the model whole, and the report says what it holds."""
    form = {"mien.side_px": "224", "mien.alignment": "celeba"}
    write_set(tmp_path, "celeba", 5, {"age": [1.0] * 5}, form=form)
    oracle = Oracle({"age": np.full(5, 2, np.float32)}, side_px=224)
    report = evaluate(oracle, tmp_path, model="oracle", command="by hand")
    assert report.value("age", "mae_years", "celeba") == 1
    assert "celeba: holds celeba crops of 224 pixels" in report.notes


def test_each_set_is_answered_by_who_takes_its_alignment(tmp_path: Path) -> None:
    """Two sets, two models; crops that nobody takes are left out with a line."""
    write_set(tmp_path, "mine", 4, {"age": [1.0] * 4})
    write_set(tmp_path, "celeba", 4, {"age": [1.0] * 4}, form={"mien.alignment": "celeba"})
    write_set(tmp_path, "wild", 4, {"age": [1.0] * 4}, form={"mien.alignment": "none"})
    models = {alignment: Oracle({"age": np.full(4, years, np.float32)}) for alignment, years in _TAKEN.items()}
    report = evaluate_aligned(models.get, tmp_path, model="two", command="by hand")
    assert report.value("age", "mae_years", "mine") == 2
    assert report.value("age", "mae_years", "celeba") == 5
    assert "wild: nothing in the model takes such crops, left out" in report.notes
    assert not any(row.dataset == "wild" for row in report.measures)


_TAKEN = {"arcface-5pt": 3, "celeba": 6}
