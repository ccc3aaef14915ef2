"""The model card: generated from the manifest, with every figure and the command that made it."""

import re
from pathlib import Path

import pytest

from export.card import render, shown
from model.runtime.pack import (
    ConfidenceCurve,
    Figure,
    Intervals,
    Pack,
    Threshold,
    TrainingRun,
    TrainingSet,
    Verification,
    read_pack,
)

EVALUATE = "mien-train evaluate packs/tiny --data ../shared/data"


def figure(
    task: str,
    metric: str,
    value: float,
    group: str = "all",
    num: int = 500,
    command: str = EVALUATE,
    dataset: str = "utkface",
    low: float | None = None,
    high: float | None = None,
) -> Figure:
    """A measured figure."""
    return Figure(
        task=task,
        metric=metric,
        value=value,
        dataset=dataset,
        group=group,
        num_samples=num,
        command=command,
        low=low,
        high=high,
    )


@pytest.fixture
def measured(made_pack: Path) -> Pack:
    """The tiny pack with figures, thresholds and training data."""
    return read_pack(made_pack).model_copy(
        update={
            "training_data": (
                TrainingSet(name="celeba", num_rows=28716, terms="CelebA: non-commercial research only"),
                TrainingSet(name="utkface", num_rows=18912, terms="UTKFace: non-commercial research only"),
            ),
            "training": (
                TrainingRun(part="analyzer", num_steps=3600, num_images=230400, seconds=5400, machine="two cores"),
                TrainingRun(part="detector", num_steps=11000, num_images=150000),
            ),
            "measured": (
                figure("age", "mae_years", 8.125, low=8.0, high=8.25),
                figure("age", "mae_years", 7.5, "gender=female", 200),
                figure("age", "mae_years", 9.25, "gender=male", 300),
                figure("age", "mae_years", 21.0, "age=80+", 12),
                figure("gender", "accuracy", 0.8765),
                figure("gender", "accuracy", 0.91, "race=white", 400),
                figure("gender", "accuracy", 0.71, "race=asian", 100),
                figure("attributes", "accuracy_eyeglasses", 0.987, dataset="celeba"),
                figure("detection", "recall_at_iou_0.5", 0.934, dataset="detection-val"),
                figure("embedding", "cosine_to_float32_weights_min", 0.99987, command="mien-export checkpoint x"),
            ),
            "verification": Verification(
                calibrated_on="LFW validation images, every pair",
                num_images=5910,
                num_impostor_pairs=17428376,
                num_genuine_pairs=32719,
                thresholds=(Threshold(fmr=0.001, threshold=0.34129, tar=0.8123),),
            ),
        }
    )


def test_every_figure_stands_in_the_card_with_its_command(measured: Pack) -> None:
    """Each figure's task, metric, set, value and number of samples stand in one row, and every command in the card."""
    card = render(measured)
    single = [entry for entry in measured.measured if "," not in entry.group]
    for entry in single:
        cells = [entry.task, entry.metric, entry.dataset, shown(entry), f"{entry.num_samples:,}"]
        rows = [
            line for line in card.splitlines() if line.startswith("|") and all(f"| {cell} |" in line for cell in cells)
        ]
        assert len([row for row in rows if entry.group == "all" or entry.group in row]) == 1, cells
    numbered = dict(re.findall(r"^- \[(\d)\] `(.*)`$", card, re.MULTILINE))
    assert set(numbered.values()) == {EVALUATE, "mien-export checkpoint x"}
    number = next(number for number, command in numbered.items() if command == EVALUATE)
    assert f"| age | mae_years | utkface | 8.12 years | 8.00 to 8.25 | 500 | [{number}] |" in card


def test_thresholds_stand_with_the_pairs_that_they_rest_on(measured: Pack) -> None:
    """Each threshold stands with its false-match rate and TAR, and the numbers of images and pairs with them."""
    card = render(measured)
    assert "5,910 images, 17,428,376 impostor and 32,719 genuine pairs" in card
    assert "| 0.001 | 0.3413 | 81.2 % |" in card


def test_intervals_and_confidence_stand_with_how_they_were_made(measured: Pack) -> None:
    """A threshold's intervals stand in brackets, the method over them, and the error of the confidence below."""
    assert measured.verification is not None
    point = Threshold(
        fmr=0.001,
        threshold=0.34129,
        tar=0.8123,
        threshold_interval=(0.331, 0.3512),
        fmr_interval=(0.00071, 0.0014),
        tar_interval=(0.75, 0.86),
    )
    verification = measured.verification.model_copy(
        update={
            "thresholds": (point,),
            "intervals": Intervals(level=0.95, num_resamples=1000, num_identities=2800),
            "confidence": ConfidenceCurve(similarities=(0.1, 0.5), log_ratios=(-2, 3), ece=0.00321),
        }
    )
    card = render(measured.model_copy(update={"verification": verification}))
    assert "| 0.001 | 0.3413 [0.3310, 0.3512] | 81.2 % [75.0, 86.0] | 0.00071 to 0.0014 |" in card
    assert "95 % intervals over 1,000 bootstrap samples of the 2,800 people, not of pairs" in card
    assert "expected calibration error is 0.0032" in card


def test_errors_before_and_after_stand_in_a_table_of_their_own(measured: Pack) -> None:
    """Calibration errors stand side by side with the temperature, and not a second time among the figures."""
    staged = (figure("race", "ece_before", 0.0812), figure("race", "ece_after", 0.0123))
    part = measured.analyzers[0].model_copy(update={"temperatures": {"race": (1.25,)}})
    card = render(measured.model_copy(update={"measured": (*measured.measured, *staged), "analyzers": (part,)}))
    assert "| race | utkface | all answers | 0.0812 | 0.0123 | 500 | 1.250 |" in card
    assert "| ece_before |" not in card
    assert "## Probabilities" not in render(measured)


def test_the_largest_gap_between_groups_is_named(measured: Pack) -> None:
    """The worst and the best group of each figure are named, higher errors and lower accuracies being worse."""
    card = render(measured)
    assert (
        "- age, mae_years on utkface by gender: worst gender=male (9.25 years), best gender=female (7.50 years)" in card
    )
    assert "- gender, accuracy on utkface by race: worst race=asian (71.0 %), best race=white (91.0 %)" in card


def test_a_gap_to_a_handful_of_people_is_not_named(measured: Pack) -> None:
    """A group of twelve stands in the table and makes no gap."""
    card = render(measured)
    assert "| age | mae_years | utkface | age=80+ | 21.00 years |  | 12 |" in card
    assert "worst age=80+" not in card


def test_data_terms_and_training_are_stated(measured: Pack) -> None:
    """Sets stand with rows and terms, trainings with steps, images, time and machine as far as these are recorded."""
    card = render(measured)
    assert "| celeba | 28,716 | CelebA: non-commercial research only |" in card
    assert "- analyzer: 3,600 steps, 230,400 images drawn, 1 h 30 min, on two cores." in card
    assert "- detector: 11,000 steps, 150,000 images drawn; the machine is not recorded." in card
    assert f"Licence: {measured.license}." in card


def test_limits_name_what_the_sets_bring_along(measured: Pack) -> None:
    """The limits hold for every pack, and those of a set only for a pack that was trained or measured on it."""
    card = render(measured)
    for word in ("Children", "Grey images", "Extreme pose", "Groups", "UTKFace's labels", "LFW's validation images"):
        assert word in card, word
    assert "FER2013" not in card


def test_a_pack_that_was_not_measured_says_so(made_pack: Path) -> None:
    """Without data the card states no figure, no thresholds and no training, and says that there are none."""
    card = render(read_pack(made_pack).model_copy(update={"measured": ()}))
    assert "Nothing was measured: the pack was exported without a validation set." in card
    assert "Not calibrated" in card
    assert "No record of the training was beside the checkpoint" in card
    assert "By group" not in card


def test_several_analyzers_are_told_apart(made_pack: Path) -> None:
    """Of several analyzers the card says which answers what on which crops, and whose weights an imported one has."""
    pack = read_pack(made_pack)
    (part,) = pack.analyzers
    parts = (
        part.model_copy(update={"tasks": ("age", "gender", "race")}),
        part.model_copy(
            update={
                "file": "faer.onnx",
                "tasks": ("attributes",),
                "side_px": 224,
                "alignment": "celeba",
                "origin": "FAER",
            }
        ),
    )
    card = render(pack.model_copy(update={"analyzers": parts}))
    assert "`analyzer.onnx` takes 112 x 112 crops (arcface-5pt) and answers age, gender and race; opset 20." in card
    assert "`faer.onnx` takes 224 x 224 crops (celeba) and answers attributes; opset 20." in card
    assert "## Whose weights these are\n\n- `faer.onnx`: FAER\n" in card
    assert "Whose weights" not in render(pack)


def test_a_detectors_record_is_not_taken_for_the_analyzers(measured: Pack) -> None:
    """Where the detector's training alone is recorded the card says so, and of foreign weights that no rows are."""
    runs = tuple(run for run in measured.training if run.part == "detector")
    (part,) = measured.analyzers
    card = render(
        measured.model_copy(
            update={"training": runs, "analyzers": (part.model_copy(update={"origin": "X"}),), "checkpoints": ()}
        )
    )
    assert "- `analyzer.onnx`: no record of the training lay beside the weights, so none is stated." in card
    assert "of weights that were trained elsewhere nothing is." in card
    assert "verifies hashes, graphs and known answers." in card


def test_the_card_on_disk_is_the_manifests(made_pack: Path) -> None:
    """`CARD.md` is what `pack.json` renders to, so that neither can say anything else than the other."""
    assert (made_pack / "CARD.md").read_text() == render(read_pack(made_pack))


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("mae_years", 8.123, "8.12 years"),
        ("bias_years", -3.0, "-3.00 years"),
        ("within_5_years", 0.421, "42.1 %"),
        ("accuracy", 0.5, "50.0 %"),
        ("fmr_at_threshold_of_1e-03", 0.00123, "0.123 %"),
        ("threshold_at_fmr_1e-03", 0.34129, "0.3413"),
        ("false_alarms_per_room", 0.03, "0.0300"),
        ("unmatched_per_photo", 1.25, "1.2500"),
    ],
)
def test_values_are_written_in_their_unit(metric: str, value: float, text: str) -> None:
    """Years, shares, rates and plain numbers are each written as such."""
    assert shown(figure("x", metric, value)) == text
