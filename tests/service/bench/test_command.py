"""`mien bench`, run for moments: what it measures, what it leaves out, and what it says of a mistake."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.bench.contenders import RIVALS, Rival, running_rival
from service.bench.duels import RAW, Loaded
from service.bench.photographs import group_photograph
from service.bench.requests import make_requests
from service.bench.results import Report
from service.onnx_engine import open_engine
from tests.house import tree

RIVALS_FOLDER = tree.PROJECT / "benchmarks" / "rivals"
BRIEF = ["--rounds", "1", "--seconds", "0.1", "--steady-seconds", "0.3", "--overload-seconds", "0.5"]
pytestmark = pytest.mark.timeout(600)


def bench(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user types it."""
    command = [sys.executable, "-m", "service", "bench", *BRIEF, "--json", str(folder / "bench.json"), *arguments]
    return subprocess.run(command, cwd=tree.PROJECT, capture_output=True, text=True, check=False)


def test_one_brief_run_measures_every_part(tmp_path: Path) -> None:
    """Throughput beside the raw loop, steady load and overload are in the JSON, in the page and in its plot."""
    page = tmp_path / "benchmarks.md"
    arguments = ["--part", "raw", "--part", "steady", "--part", "overload", "--steps", "1,4", "--clients", "1,16"]
    names = ["--request", "one face", "--request", "aligned crop", "--request", "verify"]
    done = bench(*arguments, *names, "--document", str(page), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = Report.model_validate_json((tmp_path / "bench.json").read_bytes())
    rows = report.duels[RAW].rows
    assert [(row.request, row.num_clients) for row in rows] == [
        (name, num) for name in ("one face", "aligned crop", "verify") for num in (1, 16)
    ]
    for row in rows:
        assert row.ratio.minimum <= row.ratio.median <= row.ratio.maximum
        assert row.service.images_a_second.minimum > 0
        assert row.service.p50_ms.median <= row.service.p95_ms.median <= row.service.p99_ms.median
    assert (rows[0].num_faces, rows[2].num_faces, rows[4].num_images) == (1, 1, 2)
    assert report.steady is not None
    assert {(row.request, row.arrivals) for row in report.steady.rows} >= {("one face", "at random")}
    assert report.overload is not None
    for step in report.overload.rows:
        assert sum(step.statuses.values()) == step.num_sent
        assert {"/livez 200", "/metrics 200", "/constant 200"} <= set(step.inside)
    text = page.read_text(encoding="utf-8")
    assert all(
        part in text for part in ("## Machine", "## Goals", "## Throughput", "## Overload", "mien bench --rounds 1")
    )
    assert page.with_suffix(".svg").stat().st_size > 0 or importlib.util.find_spec("matplotlib") is None


def test_what_was_measured_is_shown_again_and_kept(tmp_path: Path) -> None:
    """`--show` measures nothing; `--keep` leaves parts alone that are not measured now."""
    first = bench("--part", "raw", "--request", "aligned crop", "--clients", "1", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    before = (tmp_path / "bench.json").read_bytes()
    shown = bench("--show", folder=tmp_path)
    assert (shown.returncode, (tmp_path / "bench.json").read_bytes()) == (0, before)
    assert "| aligned crop (1 faces" in shown.stdout
    again = bench("--part", "steady", "--request", "aligned crop", "--keep", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    report = Report.model_validate_json((tmp_path / "bench.json").read_bytes())
    assert report.duels[RAW] == Report.model_validate_json(before).duels[RAW]
    assert report.steady is not None


def test_a_rival_that_is_not_there_is_left_out_and_said_so(tmp_path: Path) -> None:
    """A rival without its script has no row, and both outputs say why."""
    arguments = ["--part", "rivals", "--rival", "thread pool", "--rivals-folder", str(tmp_path)]
    done = bench(*arguments, "--request", "aligned crop", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = Report.model_validate_json((tmp_path / "bench.json").read_bytes())
    assert (report.duels, list(report.left_out)) == ({}, ["thread pool"])
    assert "thread pool is left out: " in done.stdout
    assert "thread pool is left out: " in done.stderr


def test_a_rival_that_fails_to_start_is_left_out_with_its_last_line(tmp_path: Path) -> None:
    """A rival whose process ends at once is left out, with what it said last."""
    shutil.copy(RIVALS_FOLDER / "chosen.py", tmp_path)
    (tmp_path / "thread_pool.py").write_text("raise SystemExit('no room for me')\n", encoding="utf-8")
    arguments = ["--part", "rivals", "--rival", "thread pool", "--rivals-folder", str(tmp_path)]
    done = bench(*arguments, "--request", "aligned crop", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no room for me" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--request", "moon"], "unknown request 'moon'; there are: one face"),
        (["--photo", "nowhere.jpg"], "cannot read nowhere.jpg"),
        (["--show"], "cannot read"),
        (["--clients", "many"], "must be numbers separated by commas"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    """A wrong option or a file that is absent ends the command with one line and no traceback."""
    done = bench(*arguments, folder=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_a_rival_answers_as_the_pipeline_does(rival: Rival) -> None:
    """Each rival that is installed answers every kind of request with 200, under two clients."""
    if not rival.is_installed:
        pytest.skip(f"{rival.package} is not installed: it comes with the extra bench")
    requests = make_requests(group_photograph(None), open_engine("nano"), ["one face", "aligned crop", "verify"])
    with running_rival(rival, RIVALS_FOLDER, "nano", requests[0]) as contender:
        for request in requests:
            assert Loaded(contender).measure(request, 2, 0.1).requests_a_second > 0
    assert not contender.tree.pids()
