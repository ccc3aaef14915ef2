import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.training.evaluation.curves import draw_det, draw_report, draw_roc, normal_deviate
from model.training.evaluation.history import HistoryError, draw_training, read_rows, running_mean
from model.training.evaluation.report import EvaluationReport, Measure, VerificationCurve
from model.training.evaluation.verification import error_curve
from tests.model.training.evaluation.examples import REPORT


def _is_drawn(path: Path) -> bool:
    """A picture with more than a blank canvas: hundreds of pixels differ from its ground."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return image.format == "PNG" and min(pixels.shape) > 200 and int((pixels < 128).sum()) > 500


def test_a_report_is_drawn_whole_and_without_a_warning(tmp_path: Path) -> None:
    """Curves, matrices, attributes and groups each have their picture, and zero rates and empty classes break none."""
    drawn = draw_report(REPORT, tmp_path / "report")
    assert {path.name for path in drawn} == {
        "roc.png",
        "det.png",
        "confusion-expression-fer2013.png",
        "confusion-gender-utkface.png",
        "attributes-celeba.png",
        "groups-celeba.png",
        "groups-utkface.png",
    }
    assert all(_is_drawn(path) for path in drawn)


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    """A report of one figure, and of a detector's alone, have no picture."""
    assert draw_report(EvaluationReport("m", "c", (Measure("age", "mae_years", 3.0, "my", 5),)), tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_no_figure_open(tmp_path: Path) -> None:
    """matplotlib's global state holds no figure afterwards, so that many reports need no more memory than one."""
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    draw_report(REPORT, tmp_path)
    assert plt.get_fignums() == before


def test_a_training_log_is_drawn_with_every_figure(tmp_path: Path) -> None:
    """Losses, rates and a figure that only some rows carry have a panel each."""
    rows = [{"step": s, "loss": 9 / s, "learning_rate": 1e-3, "gradient_norm": 2.0 + s % 3} for s in range(1, 200)]
    rows.append({"step": 200, "loss": 0.1, "age_mae": 7.5})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert _is_drawn(draw_training(tmp_path / "log.jsonl", tmp_path / "report" / "training.png"))


def test_a_log_that_a_kill_cut_short_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    """Half a line, text and figures that are no number are left out."""
    lines = [
        '{"step": 1, "loss": 2.5, "note": "warm"}',
        '{"step": 2, "loss": NaN}',
        '{"step": 3, "loss": 1}',
        '{"step": 4, "lo',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert read_rows(tmp_path / "log.jsonl") == [{"step": 1.0, "loss": 2.5}, {"step": 3.0, "loss": 1.0}]


@pytest.mark.parametrize("text", [None, "", '{"step": 1}\n'])
def test_a_log_without_figures_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    """An absent file, an empty one and one without figures are errors, not empty pictures."""
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(HistoryError, match=r"log\.jsonl"):
        draw_training(tmp_path / "log.jsonl", tmp_path / "training.png")
    assert not (tmp_path / "training.png").exists()


def test_the_running_mean_makes_up_nothing_beyond_the_ends() -> None:
    """The mean of what there is: by hand for a window of three."""
    assert running_mean(np.array([1.0, 2.0, 6.0, 4.0]), 3) == pytest.approx([1.5, 3, 4, 5])
    assert running_mean(np.array([1.0, 2.0]), 1) == pytest.approx([1, 2])


def test_a_normal_deviate_is_the_quantile_of_the_standard_normal() -> None:
    """Half is 0, and every rate is what scipy says, out to one in a hundred million."""
    from scipy.stats import norm

    rates = np.array([1e-8, 1e-6, 1e-3, 0.05, 0.5, 0.6, 0.999])
    np.testing.assert_allclose(normal_deviate(rates), norm.ppf(rates), rtol=1e-9, atol=1e-12)
    assert normal_deviate(np.array([0.5]))[0] == 0


def test_normally_distributed_scores_draw_a_straight_line(tmp_path: Path) -> None:
    """Both errors of two normal scores of one width have deviates whose sum is everywhere the same."""
    rng = np.random.default_rng(0)
    curve = error_curve(rng.normal(0, 0.1, 200_000), rng.normal(0.3, 0.1, 200_000), 64)
    some = (curve.fmr > 1e-3) & (curve.fnmr > 1e-3) & (curve.fnmr < 1)
    sums = normal_deviate(curve.fmr[some]) + normal_deviate(curve.fnmr[some])
    assert sums == pytest.approx(np.full(some.sum(), -3), abs=0.06)


@pytest.mark.parametrize("fnmr", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1e-6, 1e-7, 0.0)])
def test_curves_without_an_error_to_show_are_drawn_all_the_same(fnmr: tuple[float, ...], tmp_path: Path) -> None:
    """Nobody refused, everybody refused, and rates under every tick: axes and legend, and no warning."""
    curve = VerificationCurve("ijbc", "all", 1000, 50, (1e-6, 0.1, 1.0), fnmr, (0.9, 0.7, -1.0))
    assert _is_drawn(draw_det([curve], tmp_path / "det.png"))
    assert _is_drawn(draw_roc([curve], tmp_path / "roc.png"))
