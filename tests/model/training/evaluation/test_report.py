import io
from pathlib import Path

import pytest
from rich.console import Console

from model.runtime.pack import Figure
from model.training.evaluation.report import EvaluationReport, Measure, ReportError, read_report, write_report
from model.training.evaluation.tables import shown, tables
from tests.model.training.evaluation.examples import REPORT


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """JSON keeps every figure, matrix, curve and note, to the last bit."""
    path = write_report(REPORT, tmp_path / "deep" / "report")
    assert path == tmp_path / "deep" / "report" / "report.json"
    assert read_report(path) == REPORT


def test_a_figure_of_a_pack_names_the_command_that_made_it() -> None:
    """Each measure becomes a pack's figure, with group, samples and command."""
    figures = REPORT.figures()
    assert len(figures) == len(REPORT.measures)
    assert figures[3] == Figure(
        task="embedding",
        metric="fmr_at_threshold_of_1e-03",
        value=0.00123,
        dataset="celeba",
        group="gender=male",
        num_samples=4000,
        command="mien-train evaluate runs/my/ema --data data",
    )


def test_a_figure_is_found_by_its_names() -> None:
    """Everyone's and a group's are told apart, and one that was not measured is an error."""
    assert REPORT.value("age", "mae_years", "utkface") == 6.25
    assert REPORT.value("age", "mae_years", "utkface", "age=30-39") == 7.5
    with pytest.raises(KeyError):
        REPORT.value("age", "mae_years", "lfw")


def test_a_report_grows_by_a_detectors_figures() -> None:
    """More measures and notes stand behind those that were there; the first report is as it was."""
    more = REPORT.extended([Measure("detection", "recall", 1.0, "mine", 3)], ["said"])
    assert more.measures == (*REPORT.measures, Measure("detection", "recall", 1.0, "mine", 3))
    assert more.notes == (*REPORT.notes, "said")
    assert more.curves == REPORT.curves


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the whole file"),
        ('{"model": "m"}', "command"),
        ('{"model": "m", "command": "c", "notes": [3]}', "notes.0"),
    ],
)
def test_a_file_that_is_no_report_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    """The first breach is named, and so is a file that is not there."""
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ReportError, match=words):
        read_report(tmp_path / "report.json")
    with pytest.raises(ReportError, match="cannot read"):
        read_report(tmp_path / "absent.json")


def test_the_tables_show_the_figures_and_spare_the_details() -> None:
    """Shares in per cent, years as years; single attributes and thresholds are left to the report."""
    console = Console(width=150, file=io.StringIO(), record=True)
    for table in tables(REPORT):
        console.print(table)
    text = console.export_text()
    for expected in (
        "91.2 %",
        "6.25 years",
        "87.7 %",
        "86.4 %",
        "93.0 %",
        "0.053",
        "age=30-39",
        "7.50 years",
        "0.123 %",
    ):
        assert expected in text
    for spared in ("eyeglasses", "recall_female", "threshold_at"):
        assert spared not in text


def test_a_report_without_groups_has_one_table() -> None:
    """Nothing is said by group where nothing was measured by group."""
    alone = EvaluationReport("m", "c", (Measure("age", "mae_years", 1.0, "my", 2),))
    assert len(list(tables(alone))) == 1


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.8769, "87.7 %"),
        ("within_5_years", 0.5, "50.0 %"),
        ("bias_years", -1.234, "-1.23 years"),
        ("ece", 0.0412, "0.041"),
        ("fmr_at_threshold_of_1e-03", 0.00123, "0.123 %"),
        ("min_score", 0.5, "0.500"),
    ],
)
def test_each_kind_of_figure_is_written_in_its_unit(metric: str, value: float, text: str) -> None:
    """Shares, years, errors of calibration and scores are not confused."""
    assert shown(metric, value) == text
