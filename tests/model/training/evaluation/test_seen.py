from pathlib import Path

import pytest

from model.training.dataset import read_faces
from model.training.evaluation.examination import Request
from model.training.evaluation.report import Measure
from model.training.evaluation.seen import sampled_faces, sampled_scenes, stated
from model.training.evaluation.seen_pairs import seen_and_unseen
from tests.model.training.evaluation.sets import write_set


def test_a_sample_is_the_same_every_time_and_of_training_rows_alone(tmp_path: Path) -> None:
    """Rows of the training split come by one draw, no more than asked for; a set without one is left out."""
    write_set(tmp_path, "my", 90, {"age": [float(row) for row in range(90)]}, split="train")
    write_set(tmp_path, "my", 20, {"age": [200.0] * 20})
    drawn = []
    for _ in range(2):
        with sampled_faces(tmp_path, ("my", "none"), 30) as (folder, names):
            assert names == ("my",)
            drawn.append(read_faces(folder, "my", "val").age.tolist())
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 30
    assert max(drawn[0]) < 90
    assert not folder.exists()


def test_a_set_with_identities_is_sampled_by_people(tmp_path: Path) -> None:
    """Sixty people come with all their pictures, as validation rows do, so that pairs of one person are as many."""
    identity = [f"my:{row // 12}" for row in range(70 * 12)] + [f"my:lone{row}" for row in range(200)]
    write_set(tmp_path, "my", len(identity), {"identity": identity}, split="train")
    with sampled_faces(tmp_path, ("my",)) as (folder, _):
        table = read_faces(folder, "my", "val")
    assert len(table) == 60 * 12
    assert len(table.identity_names) == 60


def test_data_without_training_scenes_has_no_sample(tmp_path: Path) -> None:
    """No file, no gap."""
    with sampled_scenes(tmp_path) as folder:
        assert folder is None


def test_a_figure_stands_beside_its_own() -> None:
    """Seen and unseen are matched by task, metric and set; groups and thresholds are not stated."""
    seen = stated(
        (
            Measure("age", "mae_years", 5.0, "utkface", 10),
            Measure("age", "mae_years", 4.0, "utkface", 5, "gender=male"),
            Measure("embedding", "threshold_at_fmr_1e-03", 0.4, "celeba", 10),
            Measure("detection", "recall_at_iou_0.5", 0.9, "detection-val", 10),
        )
    )
    assert [(row.metric, row.dataset) for row in seen] == [
        ("mae_years", "utkface-train"),
        ("recall_at_iou_0.5", "detection-train"),
    ]
    measured = (
        Measure("age", "mae_years", 6.0, "utkface", 10),
        Measure("detection", "recall_at_iou_0.5", 0.8, "detection-val", 10),
    )
    assert [(one.value, other.value) for one, other in seen_and_unseen(seen, measured)] == [(5.0, 6.0), (0.9, 0.8)]


@pytest.mark.parametrize(("quality", "gap", "ending"), [(True, False, " --quality"), (False, True, " --train-gap")])
def test_the_command_names_what_it_measures(quality: bool, gap: bool, ending: str) -> None:
    """A report's command makes the same report again."""
    assert Request("nano", Path("d"), quality=quality, train_gap=gap).command.endswith(f"--data d{ending}")
