"""The card's table of the detector by condition."""

from pathlib import Path

from export.card import render
from export.robustness_table import robustness_table
from model.runtime.pack import Figure, read_pack


def figure(metric: str, value: float, group: str, num: int = 50) -> Figure:
    return Figure(
        task="detection",
        metric=metric,
        value=value,
        dataset="detection-val",
        group=group,
        num_samples=num,
        command="mien-train evaluate packs/tiny --data DATA --robustness",
    )


def test_one_row_a_condition(made_pack: Path) -> None:
    """Each condition is one row of one table, in the order measured, and stands in no other table of the card."""
    pack = read_pack(made_pack).model_copy(
        update={
            "measured": (
                figure("recall_at_iou_0.5", 0.934, "all", 210),
                figure("recall_at_iou_0.5", 0.9375, "condition=clean"),
                figure("false_alarms_per_room", 0.016, "condition=clean", 186),
                figure("landmark_error_by_eye_distance", 0.1264, "condition=clean", 45),
                figure("views_per_photo", 1.08, "condition=clean", 200),
                figure("recall_at_iou_0.5", 0.5, "condition=profile, over 60 degrees", 4),
            )
        }
    )
    table = robustness_table(pack)
    assert "| clean | 50 | 93.8 % | 0.016 | 0.126 | 1.08 |" in table
    assert "| profile, over 60 degrees | 4 | 50.0 % |  |  |  |" in table
    assert "mien-train evaluate packs/tiny --data DATA --robustness" in table
    card = render(pack)
    assert table in card
    assert "condition=" not in card
    assert "## By group" not in card


def test_nothing_measured(made_pack: Path) -> None:
    """A pack without such figures has no such section."""
    assert robustness_table(read_pack(made_pack)) == ""
