"""The verdict: what is fast enough, what is close enough, and what counts as a loss."""

import pytest

from export.twin.verdict import comparisons, loss, too_far, too_lossy, too_slow, worst
from model.runtime.labels import Task
from model.runtime.twin_part import TwinComparison, TwinSpeed
from model.training.evaluation.report import EvaluationReport, Measure


def row(task: Task, metric: str, float32: float, int8: float) -> TwinComparison:
    return TwinComparison(task=task, metric=metric, dataset="x", float32=float32, int8=int8, num_samples=100)


def speed(batch_size: int, median: float) -> TwinSpeed:
    return TwinSpeed(batch_size=batch_size, ratio_min=0.5, ratio_median=median, ratio_max=9)


def test_speed_counts_at_every_batch_size_by_its_middle() -> None:
    """The middle ratio decides, at each batch size; luck at one end does not."""
    assert list(too_slow([speed(1, 1.4), speed(8, 2.0)])) == []
    assert list(too_slow([speed(1, 1.39), speed(8, 2.0)])) == ["1.39 x at batch 1"]


@pytest.mark.parametrize(
    ("compared", "lost", "is_lossy"),
    [
        (row("gender", "accuracy", 0.97, 0.968), 0.2, False),
        (row("gender", "accuracy", 0.97, 0.966), 0.4, True),
        (row("gender", "accuracy", 0.97, 0.98), -1.0, False),
        (row("age", "mae_years", 6.0, 6.05), 0.05, False),
        (row("age", "mae_years", 6.0, 6.2), 0.2, True),
    ],
)
def test_losses_are_points_and_years(compared: TwinComparison, lost: float, is_lossy: bool) -> None:
    """A share loses points, an age years; under 0.3 points and 0.1 years pass, a gain always."""
    assert loss(compared).lost == pytest.approx(lost)
    assert bool(list(too_lossy([compared.task], [compared]))) == is_lossy


def test_a_task_that_nothing_judged_counts_against_a_twin() -> None:
    """A task without a labelled row is not taken to be as good."""
    assert list(too_lossy(["race"], [])) == ["race not measured: no validation set labels it"]


def test_embeddings_keep_a_mean_cosine() -> None:
    """Under 0.995 embeddings are too far; without any there is nothing to keep."""
    assert (list(too_far(0.995)), list(too_far(None)), list(too_far(0.9949))) == ([], [], ["cosine 0.9949"])


def test_the_worst_loss_is_the_nearest_to_its_limit() -> None:
    """Points and years are weighed by what each may lose."""
    found = worst([row("gender", "accuracy", 0.9, 0.899), row("age", "mae_years", 6.0, 6.09)])
    assert found is not None
    assert str(found) == "+0.09 years, age mae_years on x"
    assert worst([]) is None


def test_both_evaluations_headline_figures_are_compared() -> None:
    """Each judged figure that both hold is a row; groups, thresholds and others are not."""

    def report(accuracy: float) -> EvaluationReport:
        measures = (
            Measure("race", "accuracy", accuracy, "utkface", 50),
            Measure("race", "accuracy", 0.1, "utkface", 5, "gender=male"),
            Measure("race", "ece", 0.2, "utkface", 50),
            Measure("embedding", "accuracy_10fold", 0.9, "lfw", 60),
        )
        return EvaluationReport("m", "c", measures)

    rows = comparisons(report(0.75), report(0.7), TwinComparison)
    assert [(each.task, each.float32, each.int8) for each in rows] == [("embedding", 0.9, 0.9), ("race", 0.75, 0.7)]
