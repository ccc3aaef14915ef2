"""Calibration over validation sets in their true layout: figures, reliability bins and pictures."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.training.evaluation.reliability import draw_reliabilities
from model.training.evaluation.report import EvaluationReport, read_report, write_report
from model.training.evaluation.validation import calibration_of, evaluate, progress_bars
from tests.model.training.evaluation.sets import Oracle, write_set

NUM = 500
SHARPENED = 3.0


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponents / exponents.sum(1, keepdims=True))


def write_sure(folder: Path) -> Oracle:
    """A set of expressions drawn from a softmax, and a model that states them three times as sharp."""
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(NUM, 7))
    expression = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    write_set(folder, "my", NUM, {"expression": expression.tolist()})
    return Oracle({"expression": softmax(SHARPENED * logits).astype(np.float32)})


def report_of(oracle: Oracle, folder: Path, temperature: float = 1.0) -> EvaluationReport:
    return evaluate(oracle, folder, model="m", command="c", temperatures={"expression": (temperature,)})


def test_a_sure_models_report_states_the_error_before_and_after(tmp_path: Path) -> None:
    """The figure before is that of the answers as they are; that after, on faces not fitted on, is a fraction of it."""
    report = report_of(write_sure(tmp_path), tmp_path)
    before, after = (report.value("expression", f"ece_{stage}", "my") for stage in ("before", "after"))
    assert before == pytest.approx(report.value("expression", "ece", "my"), abs=1e-6)
    assert after < 0.4 * before
    assert {(row.task, row.dataset, row.stage) for row in report.reliabilities} == {
        ("expression", "my", "before"),
        ("expression", "my", "after"),
    }
    for row in report.reliabilities:
        assert sum(row.counts) == NUM
        assert row.error == pytest.approx(report.value("expression", f"ece_{row.stage}", "my"))


def test_a_calibrated_models_report_remembers_the_error_before(tmp_path: Path) -> None:
    """Of a model that answers at a temperature, `before` is what it would answer without one: both reports agree."""
    oracle = write_sure(tmp_path)
    plain = report_of(oracle, tmp_path)
    logits = np.log(oracle.answers["expression"].astype(np.float64))
    calibrated = Oracle({"expression": softmax(logits / SHARPENED).astype(np.float32)})
    tempered = report_of(calibrated, tmp_path, SHARPENED)
    for metric in ("ece_before", "ece_after"):
        stated = plain.value("expression", metric, "my")
        assert tempered.value("expression", metric, "my") == pytest.approx(stated, abs=1e-4)
    assert tempered.value("expression", "ece", "my") < 0.4 * plain.value("expression", "ece", "my")


def test_temperatures_of_all_sets(tmp_path: Path) -> None:
    """The export's own pass gives the temperature that the answers were sharpened by, whatever they are given at."""
    oracle = write_sure(tmp_path)
    with progress_bars() as progress:
        found = calibration_of(lambda _: oracle, tmp_path, {}, progress)
        of_tempered = calibration_of(lambda _: oracle, tmp_path, {"expression": (2.0,)}, progress)
    assert found.temperatures["expression"][0] == pytest.approx(SHARPENED, rel=0.1)
    assert of_tempered.temperatures["expression"][0] == pytest.approx(2 * found.temperatures["expression"][0], rel=1e-3)
    assert found.notes == []


def test_too_few_labels_are_noted(tmp_path: Path) -> None:
    """A task with a handful of labelled faces gets no temperature, and a note says why."""
    write_set(tmp_path, "my", 20, {"gender": [0, 1] * 10})
    oracle = Oracle({"gender": np.full((20, 2), 0.5, np.float32)})
    report = report_of(oracle, tmp_path)
    assert "gender: 20 labelled faces are too few to fit a temperature on" in report.notes
    assert not any(row.metric.startswith("ece_") for row in report.measures)


def test_attributes_are_judged_by_the_probability_of_yes(tmp_path: Path) -> None:
    """Attributes have the error of all answers together and the mean of each one's, before and after."""
    rng = np.random.default_rng(6)
    stated = rng.uniform(0.05, 0.95, (NUM, 40))
    labels = (rng.random(stated.shape) < stated).astype(np.int8)
    write_set(tmp_path, "my", NUM, {"attributes": labels.tolist()})
    report = report_of(Oracle({"attributes": (1 - stated).astype(np.float32)}), tmp_path)
    wrong = np.abs(1 - 2 * stated).mean()  # yes is stated as likely as no is
    for metric in ("ece", "ece_before", "ece_mean", "ece_mean_before"):
        assert report.value("attributes", metric, "my") == pytest.approx(wrong, abs=0.03)
    assert report.value("attributes", "ece_after", "my") <= report.value("attributes", "ece_before", "my")


def test_diagrams_are_drawn_and_kept(tmp_path: Path) -> None:
    """Each task and set with bins gets one picture; the bins come back from report.json, and none are drawn of none."""
    report = report_of(write_sure(tmp_path), tmp_path)
    pictures = draw_reliabilities(report, tmp_path / "report")
    assert [path.name for path in pictures] == ["reliability-expression-my.png"]
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
    assert read_report(write_report(report, tmp_path)).reliabilities == report.reliabilities
    assert draw_reliabilities(EvaluationReport("m", "c"), tmp_path) == ()
