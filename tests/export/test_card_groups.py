"""The card's gaps: named, ranked, and with the interval that each figure's own leaves."""

from pathlib import Path

from export.card_groups import by_group, gaps_of
from model.runtime.pack import Figure, Pack, read_pack
from tests.export.test_card import figure

ROWS = (
    figure("age", "mae_years", 6.0, low=5.8, high=6.2),
    figure("age", "mae_years", 15.0, "age=80+", 60, low=12.0, high=18.0),
    figure("age", "mae_years", 4.0, "age=20-29", 600, low=3.8, high=4.2),
    figure("gender", "accuracy", 0.9, low=0.88, high=0.92),
    figure("gender", "accuracy", 0.6, "age=0-9", 260, low=0.54, high=0.66),
    figure("gender", "accuracy", 0.96, "age=40-49", 180, low=0.92, high=0.98),
    figure("gender", "accuracy", 0.895, "gender=female", 250, low=0.87, high=0.92),
    figure("gender", "accuracy", 0.905, "gender=male", 250, low=0.88, high=0.93),
    figure("gender", "accuracy", 0.55, "gender=female,age=0-9", 120, low=0.46, high=0.64),
    figure("gender", "accuracy", 0.97, "gender=male,age=40-49", 90, low=0.91, high=0.99),
    figure("expression", "accuracy", 0.55, dataset="fer2013"),
)


def section(made_pack: Path, rows: tuple[Figure, ...]) -> str:
    """The section of a pack with these figures."""
    return by_group(read_pack(made_pack).model_copy(update={"measured": rows}))


def test_the_one_largest_gap_is_named_first_by_everyones_error(made_pack: Path) -> None:
    """Girls of nine against men of forty: 42 points, 4.2 times the tenth that goes wrong for everyone."""
    text = section(made_pack, ROWS)
    first = text.splitlines()[2]
    assert first.startswith("**The largest gap of all**, 4.2 times everyone's error of that figure: gender, accuracy")
    assert "by gender and age: worst gender=female,age=0-9 (55.0 %), best gender=male,age=40-49 (97.0 %)" in first
    assert "- The largest in years: age, mae_years on utkface by age: worst age=80+ (15.00 years)" in text


def test_a_gaps_interval_follows_from_both_groups_own(made_pack: Path) -> None:
    """Ends lie as far off as both groups' own ends do together, by the root of the sum of squares."""
    assert "gap 11.00 years (7.99 to 14.01)" in section(made_pack, ROWS)


def test_a_gap_that_chance_may_have_made_is_named_and_not_ranked(made_pack: Path) -> None:
    """Women and men, whose intervals overlap, have their line and are not the largest of anything."""
    gap = next(gap for gap in gaps_of(ROWS) if gap.worst.group == "gender=female")
    assert gap.low is not None
    assert gap.low < 0 < gap.size
    text = section(made_pack, ROWS[6:8])
    assert "worst gender=female (89.5 %), best gender=male (90.5 %)" in text
    assert "largest gap of all" not in text


def test_a_set_that_labels_no_group_is_named(made_pack: Path) -> None:
    """What cannot be stated by group is said, so that its absence is not taken for equality."""
    assert "because the set does not label one: expression on fer2013." in section(made_pack, ROWS)


def test_people_in_two_groups_have_a_table_of_their_own(made_pack: Path) -> None:
    """Each figure of two groups at once stands with its samples."""
    text = section(made_pack, ROWS)
    assert "| gender=female,age=0-9 | 55.0 % (120) |" in text
    assert "gender=female,age=0-9 | 55.0 % | " not in text


def test_figures_without_intervals_have_gaps_without(made_pack: Path) -> None:
    """A manifest of before intervals were measured still renders."""
    rows = tuple(row.model_copy(update={"low": None, "high": None}) for row in ROWS)
    assert "worst age=80+ (15.00 years), best age=20-29 (4.00 years)." in section(made_pack, rows)


def test_single_attributes_are_told_by_group_and_their_largest_gaps_named(made_pack: Path) -> None:
    """Attributes stand in one table by group, and the gaps whose interval leaves out 0 are counted."""
    rows = (
        figure("attributes", "accuracy_big_lips", 0.7, dataset="celeba"),
        figure("attributes", "accuracy_big_lips", 0.6, "gender=female", 700, dataset="celeba", low=0.56, high=0.64),
        figure("attributes", "accuracy_big_lips", 0.8, "gender=male", 300, dataset="celeba", low=0.75, high=0.84),
    )
    text = section(made_pack, rows)
    assert "| metric | gender=female (700) | gender=male (300) |" in text
    assert "| accuracy_big_lips | 60.0 % | 80.0 % |" in text
    assert "1 gaps whose interval leaves out 0" in text


def test_without_groups_there_is_no_section(made_pack: Path) -> None:
    """Nothing by group, nothing said of it."""
    pack: Pack = read_pack(made_pack)
    assert by_group(pack.model_copy(update={"measured": (figure("age", "mae_years", 6.0),)})) == ""
