"""The demo as a newcomer runs it: a process of its own, with the pack that ships, from any folder."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from service import demo
from service.client import is_free
from tests.imported import Imported

COMMAND = [sys.executable, "-m", "service.demo"]


def test_the_demo_finds_six_faces_draws_them_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Its first line is the real count; a table, both comparisons and the picture follow; it exits 0."""
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "6 faces in t1.jpg"
    assert {"age", "gender", "expression", "attributes"} <= set(lines[2].split())
    verdicts = [line for line in lines if line.startswith("largest face and")]
    assert "same person" in verdicts[0]
    assert "different people" in verdicts[1]
    assert "/docs" in lines[-1]
    with Image.open(tmp_path / "demo.png") as drawn:
        assert drawn.size == (1280, 886)
    port = int(lines[-1].split("127.0.0.1:")[1].split("/")[0])
    assert is_free(port)


def test_the_demo_of_a_pack_without_embeddings_compares_nobody(tmp_path: Path, small_faer: Imported) -> None:
    """It shows the expressions and attributes that the pack answers, says why it compares nobody, and exits 0."""
    command = [*COMMAND, "--pack", str(small_faer.folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "6 faces in t1.jpg"
    assert not {"age", "gender"} & set(lines[2].split())
    assert {"expression", "quality"} <= set(lines[2].split())
    assert "no faces compared: the pack answers no embeddings" in lines
    assert (tmp_path / "demo.png").is_file()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_kept_demo_serves_until_it_is_told_to_stop(tmp_path: Path, told: signal.Signals) -> None:
    """`--keep` prints where the page is, answers there, and stops its service when it is stopped.

    It does so where SIGINT was ignored at its start, too, as a shell has it for what it runs in the background.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, "--keep"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_IGN),
    ) as kept:
        watchdog = threading.Timer(120, kept.kill)
        watchdog.start()
        try:
            assert kept.stdout is not None
            where = next(line for line in kept.stdout if line.startswith("page: "))
            port = int(where.split("127.0.0.1:")[1].split("/")[0])
            assert not is_free(port)
            kept.send_signal(told)
            assert kept.wait(60) == 0
            assert is_free(port)
        finally:
            watchdog.cancel()
            kept.kill()


def test_a_photograph_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    """A missing `--photo` ends the demo before anything is started."""
    result = CliRunner().invoke(demo.main, ["--photo", str(tmp_path / "none.jpg")])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [f"Error: cannot read {tmp_path / 'none.jpg'}: No such file or directory"]


def test_a_service_that_does_not_start_is_one_clear_line(tmp_path: Path, six_faces_path: Path) -> None:
    """The service's own reason is passed on, without a traceback."""
    arguments = ["--photo", str(six_faces_path), "--pack", str(tmp_path / "none"), "--draw", str(tmp_path / "out.png")]
    result = CliRunner().invoke(demo.main, arguments)
    assert result.exit_code == 1
    assert "Error: the service did not start: no pack at" in result.stderr
    assert "Traceback" not in result.output
