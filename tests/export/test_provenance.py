"""What a checkpoint's surroundings tell of its training."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.errors import ExportError
from export.provenance import (
    TERMS,
    analyzer_provenance,
    default_license,
    detector_provenance,
    earlier_provenance,
    training_sets,
)
from model.runtime.pack import read_pack


def run_of(folder: Path, state: dict[str, object], log: str = "") -> Path:
    """A training run's folder with a state and a log; its checkpoint folder."""
    (folder / "last").mkdir(parents=True)
    (folder / "last" / "state.json").write_text(json.dumps(state))
    (folder / "log.jsonl").write_text(log)
    (folder / "ema").mkdir()
    return folder / "ema"


RECIPE = {"rows": {"celeba": 26, "utkface": 16, "fer2013": 0}, "losses": {"teacher": 4.0}}
LOG = "".join(json.dumps({"step": step, "steps_per_second": 2.0}) + "\n" for step in (10, 20, 30, 40))


def test_steps_images_time_and_sets_come_from_the_runs_records(tmp_path: Path) -> None:
    """Steps and images are the state's, time is the log's up to that step, sets are those that rows were drawn of."""
    checkpoint = run_of(tmp_path, {"step": 30, "recipe": RECIPE}, LOG)
    found = analyzer_provenance(checkpoint, "two cores")
    assert found.sets == ("celeba", "utkface")
    assert found.run is not None
    assert (found.run.num_steps, found.run.num_images, found.run.seconds) == (30, 30 * 42, 15.0)
    assert found.run.machine == "two cores"
    assert found.run.teacher is not None


def test_a_steps_batches_count(tmp_path: Path) -> None:
    """Images of a run of several processes, or of accumulated batches, are those of all its batches."""
    state = {"step": 30, "batches_per_step": 4, "alignment": "celeba", "recipe": RECIPE}
    found = analyzer_provenance(run_of(tmp_path, state, LOG), None)
    assert found.run is not None
    assert found.run.num_images == 30 * 4 * 42
    assert found.alignment == "celeba"


def test_a_run_without_a_teacher_or_a_log_states_neither(tmp_path: Path) -> None:
    """No teacher's weight, no teacher; no log, no time."""
    checkpoint = run_of(tmp_path, {"step": 5, "recipe": {"rows": {"celeba": 2}, "losses": {"teacher": 0}}})
    run = analyzer_provenance(checkpoint, None).run
    assert run is not None
    assert (run.teacher, run.seconds, run.machine) == (None, None, None)


def test_a_detectors_images_are_its_canvases(tmp_path: Path) -> None:
    """A detector's step counts as many images as its batch has canvases, small or large."""
    canvas = {"side_px": 320, "batch": 16, "large_side_px": 512, "large_batch": 6, "large_every": 4}
    found = detector_provenance(run_of(tmp_path, {"step": 8, "recipe": {"canvas": canvas}}), None)
    assert found.run is not None
    assert found.run.num_images == 6 * 16 + 2 * 6
    assert found.sets == ("detection",)


def test_a_detectors_steps_share_canvases(tmp_path: Path) -> None:
    """Each step counts the canvases that it sees, those that an earlier step saw otherwise as well."""
    canvas = {"side_px": 320, "batch": 16, "large_side_px": 512, "large_batch": 6, "large_every": 4, "views": 3}
    found = detector_provenance(run_of(tmp_path, {"step": 14, "recipe": {"canvas": canvas}}), None)
    assert found.run is not None
    assert found.run.num_images == 9 * 16 + 3 * 6 + 2 * 16


def test_a_lone_checkpoint_tells_nothing(tmp_path: Path) -> None:
    """Without a run beside it a checkpoint has no provenance, and none is made up."""
    found = analyzer_provenance(tmp_path / "ema", "two cores")
    assert (found.run, found.sets, found.counted) == (None, (), ())


def test_a_checkpoint_in_a_pack_has_the_packs_provenance(own_pack: Path) -> None:
    """What a pack states of its training and data goes on with the checkpoint in it."""
    manifest = json.loads((own_pack / "pack.json").read_text())
    manifest["training"] = [{"part": "analyzer", "num_steps": 7, "num_images": 70}]
    manifest["training_data"] = [{"name": "celeba", "num_rows": 5, "terms": "some"}]
    (own_pack / "pack.json").write_text(json.dumps(manifest))
    found = analyzer_provenance(own_pack / "analyzer", None)
    assert found.run == read_pack(own_pack).training[0]
    assert [entry.name for entry in found.counted] == ["celeba"]


@pytest.mark.parametrize("text", ["{", '{"step": "many", "recipe": {}}', '{"step": 3}'])
def test_a_broken_state_is_one_clear_line(tmp_path: Path, text: str) -> None:
    """A state that is no state is named, and not passed over."""
    checkpoint = run_of(tmp_path, {})
    (tmp_path / "last" / "state.json").write_text(text)
    with pytest.raises(ExportError, match=r"state\.json is not a training's state"):
        analyzer_provenance(checkpoint, None)


def test_rows_of_training_sets_are_counted_over_all_their_files(tmp_path: Path) -> None:
    """A set's rows are counted over its numbered files, validation rows left out, and its terms stand beside."""
    for name, num in (("celeba-train-00", 3), ("celeba-train-01", 4), ("celeba-val", 50)):
        pq.write_table(pa.table({"name": list(range(num))}), tmp_path / f"{name}.parquet")
    (entry,) = training_sets(("celeba",), tmp_path)
    assert (entry.name, entry.num_rows, entry.terms) == ("celeba", 7, TERMS["celeba"])
    with pytest.raises(ExportError, match="was trained on utkface"):
        training_sets(("utkface",), tmp_path)


def test_known_sets_leave_non_commercial_research_and_unknown_ones_nothing() -> None:
    """The default licence is what the sets' terms leave; with an unknown set, or none recorded, there is no default."""
    found = default_license(("celeba", "detection"))
    assert found is not None
    assert "Non-commercial research only" in found[1]
    assert "celeba, detection" in found[1]
    assert default_license(("celeba", "my-own-faces")) is None
    assert default_license(()) is None


def test_an_earlier_training_is_recorded_with_its_role_and_its_sets(tmp_path: Path) -> None:
    """What the answers of a larger network were taught by stands with what it took, and its sets' terms go along."""
    recipe = {"rows": {"celeba": 4, "own": 2}, "losses": {}}
    (run_of(tmp_path / "large", {"step": 40, "recipe": recipe}, LOG) / "weights.safetensors").touch()
    found = earlier_provenance(f"{tmp_path / 'large'}=its answers were taught", "one GPU")
    assert found.run is not None
    assert (found.run.role, found.run.num_steps, found.run.seconds) == ("its answers were taught", 40, 20.0)
    assert found.sets == ("celeba", "own")


def test_a_pack_of_several_trainings_passes_them_all_on(own_pack: Path) -> None:
    """What goes on from a pack rests on every training of its analyzer, the last one last."""
    manifest = json.loads((own_pack / "pack.json").read_text())
    runs = [
        {"part": "analyzer", "num_steps": 7, "num_images": 70, "role": "start"},
        {"part": "analyzer", "num_steps": 9, "num_images": 90},
        {"part": "detector", "num_steps": 3, "num_images": 30},
    ]
    (own_pack / "pack.json").write_text(json.dumps(manifest | {"training": runs}))
    found = analyzer_provenance(own_pack / "analyzer", None)
    assert [run.num_steps for run in (*found.earlier, found.run) if run is not None] == [7, 9]
    again = earlier_provenance(f"{own_pack}=its weights were the start", None)
    assert again.run is not None
    assert (again.run.num_steps, again.run.role) == (9, "its weights were the start")


def test_an_earlier_training_without_a_record_is_one_clear_line(tmp_path: Path) -> None:
    """A folder that tells nothing is refused: it would add nothing to the pack and seem to."""
    with pytest.raises(ExportError, match="holds no record of a training"):
        earlier_provenance(str(tmp_path), None)
