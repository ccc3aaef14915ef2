"""A pack's card made anew: pictures, hashes, and what stays as it was."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from export.card import render
from export.cli import main
from export.energy import Power
from export.errors import ExportError
from export.measuring import refresh
from export.pack_check import check_pack
from export.pictures import draw_pictures
from model.runtime.pack import PackError, TrainingRun, read_pack, verify_pack
from tests.model.training.evaluation.examples import REPORT


def _run(folder: Path) -> Path:
    """A training run's folder with a log of two figures."""
    folder.mkdir()
    rows = [{"step": step, "loss": 9 / step, "learning_rate": 1e-3} for step in range(1, 60)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_pictures_are_small_named_and_hashed(tmp_path: Path) -> None:
    """Every picture of a report is drawn into `card/` with few colours, and says what it shows."""
    pictures = draw_pictures(tmp_path, REPORT, {"analyzer": _run(tmp_path / "run") / "log.jsonl"})
    titles = {picture.file: picture.title for picture in pictures}
    assert titles["card/confusion-gender-utkface.png"] == "confusion matrix of gender on utkface"
    assert titles["card/training-analyzer.png"] == "training of the analyzer"
    assert titles["card/groups-utkface.png"] == "figures by group on utkface"
    for picture in pictures:
        with Image.open(tmp_path / picture.file) as image:
            assert image.mode == "P"
        assert (tmp_path / picture.file).stat().st_size < 60_000


def test_a_card_is_made_anew_with_the_runs_curves_and_energy(own_pack: Path, tmp_path: Path) -> None:
    """The pack passes its check again, links what was drawn, and its graphs are what they were."""
    before = read_pack(own_pack)
    run = TrainingRun(part="analyzer", num_steps=5, num_images=10, seconds=3600, machine="two cores")
    manifest = before.model_copy(update={"training": (run,)})
    (own_pack / "pack.json").write_text(manifest.model_dump_json())
    made = refresh(own_pack, None, {"analyzer": _run(tmp_path / "run")}, Power({"": 50.0}, 200.0))
    check_pack(own_pack)
    card = (own_pack / "CARD.md").read_text()
    assert card == render(read_pack(own_pack))
    assert "![training of the analyzer](card/training-analyzer.png)" in card
    assert "0.05 kWh and 10 g of CO2e" in card
    assert made.analyzers == before.analyzers


def test_pictures_that_cannot_be_drawn_again_stay(own_pack: Path, tmp_path: Path) -> None:
    """A second card without the run's log keeps the curves that the first one drew."""
    refresh(own_pack, None, {"analyzer": _run(tmp_path / "run")}, Power())
    again = refresh(own_pack, None, {}, Power())
    assert [picture.file for picture in again.pictures] == ["card/training-analyzer.png"]
    check_pack(own_pack)


def test_a_changed_picture_fails_the_check_and_not_the_service(own_pack: Path, tmp_path: Path) -> None:
    """The check holds pictures to their hashes; what serves never reads them, so a pack may do without."""
    refresh(own_pack, None, {"detector": _run(tmp_path / "run")}, Power())
    shutil.rmtree(own_pack / "card")
    pack = read_pack(own_pack)
    verify_pack(own_pack, pack)
    with pytest.raises(PackError, match=r"training-detector\.png"):
        verify_pack(own_pack, pack, checkpoints=True)


def test_a_folder_without_a_log_is_one_clear_line(own_pack: Path, tmp_path: Path) -> None:
    """What is no training run is named, and the card stays."""
    with pytest.raises(ExportError, match="is no training run"):
        refresh(own_pack, None, {"analyzer": tmp_path}, Power())


def test_the_command_says_what_it_made(own_pack: Path) -> None:
    """`mien-export card` ends with the numbers of figures and pictures, and a wrong option with one line."""
    done = CliRunner().invoke(main, ["card", str(own_pack)])
    assert done.exit_code == 0, done.output
    assert "card of 0 figures and 0 pictures" in done.output
    wrong = CliRunner().invoke(main, ["card", str(own_pack), "--watts", "lots"])
    assert wrong.exit_code == 1
    assert wrong.output.startswith("Error: --watts is a number of watts")


def test_real_data_gives_every_part_of_the_card(own_pack: Path, tmp_path: Path, shared_data: Path) -> None:
    """Figures with intervals, by group and in two, quality and pictures come of one measuring, under their commands."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("utkface-val.parquet", "detection-val.parquet"):
        (data / name).symlink_to((shared_data / name).resolve())
    pack = refresh(own_pack, data, {}, Power())
    check_pack(own_pack)
    assert any(figure.group == "gender=female,race=white" for figure in pack.measured)
    assert all(figure.low is not None for figure in pack.measured if figure.metric in ("accuracy", "mae_years"))
    assert {curve.how for curve in pack.quality} == {"measured", "degraded"}
    assert all(curve.command.endswith(f"--data {data} --quality --train-gap --robustness") for curve in pack.quality)
    assert {"card/confusion-race-utkface.png", "card/quality-degraded.png"} <= {part.file for part in pack.pictures}
    card = (own_pack / "CARD.md").read_text()
    assert "**The largest gap of all**" in card
    assert "## Quality and error" in card
    # The tiny pack states no training data, so nothing is claimed to have been seen.
    assert pack.seen == ()
