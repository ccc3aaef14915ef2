"""`mien-export`: what a person types, sees, and gets for a mistake."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import export.assembly
from export.cli import main
from export.pack_check import check_pack
from model.runtime.pack import read_pack
from tests.export.packs import order


@pytest.fixture
def runner() -> CliRunner:
    """A runner of commands."""
    return CliRunner()


def test_help_names_every_command_without_torch() -> None:
    """`mien-export --help` lists the commands and loads no torch, so that it answers at once."""
    program = """
import sys
from export.cli import main
main(["--help"], standalone_mode=False)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    for word in ("checkpoint", "check", "calibrate", "False"):
        assert word in done.stdout


def test_a_pack_is_exported_and_its_size_told(
    runner: CliRunner, tmp_path: Path, made_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`checkpoint` makes a pack that passes its check, says where it is and how to serve it."""
    monkeypatch.setattr(export.assembly, "trace", lambda _: (made_pack / "analyzer.onnx").read_bytes())
    wanted = order(tmp_path)
    arguments = ["checkpoint", str(wanted.checkpoint), "--detector", str(made_pack), "--name", "mine"]
    arguments += ["--version", "2.0", "--out", str(tmp_path / "out"), "--license", "MIT", "--allowed-use", "Anything."]
    done = runner.invoke(main, arguments)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out" / "mine"
    assert f"mien serve --pack {folder}" in done.output
    check_pack(folder)
    pack = read_pack(folder)
    assert (pack.name, pack.version, pack.license, pack.allowed_use) == ("mine", "2.0", "MIT", "Anything.")


def test_the_manifest_keeps_the_command_that_was_typed(
    runner: CliRunner, tmp_path: Path, made_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was typed stands in the manifest and on the card, quoted so that it can be typed again."""
    monkeypatch.setattr(export.assembly, "trace", lambda _: (made_pack / "analyzer.onnx").read_bytes())
    arguments = ["checkpoint", str(order(tmp_path).checkpoint), "--detector", str(made_pack), "--name", "mine"]
    arguments += ["--out", str(tmp_path / "out"), "--license", "MIT or so"]
    monkeypatch.setattr("sys.argv", ["/usr/bin/mien-export", *arguments])
    assert runner.invoke(main, arguments).exit_code == 0
    folder = tmp_path / "out" / "mine"
    command = read_pack(folder).exported_with["command"]
    assert command == f"mien-export {' '.join(arguments[:-1])} 'MIT or so'"
    assert command in (folder / "CARD.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["checkpoint", "nowhere", "--detector", "x", "--name", "mine"], "no checkpoint at nowhere"),
        (["checkpoint", "nowhere", "--detector", "x", "--name", "../mine"], "--name '../mine': letters, digits"),
        (["checkpoint", "nowhere", "--name", "mine"], "Missing option '--detector'"),
        (["check", "nowhere/at/all"], "no pack at nowhere/at/all"),
        (["check", "nosuchpack"], "no pack named 'nosuchpack'"),
        (["calibrate", "nowhere/at/all", "--data", "."], "no pack at nowhere/at/all"),
    ],
)
def test_a_mistake_is_one_line_and_a_failure(runner: CliRunner, arguments: list[str], complaint: str) -> None:
    """A mistake ends with a non-zero code and its line on the error stream, without a traceback."""
    done = runner.invoke(main, arguments)
    assert done.exit_code != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.output


def test_check_prints_what_was_looked_at(runner: CliRunner, made_pack: Path) -> None:
    """`check` ends well for a good pack and names what it looked at."""
    done = runner.invoke(main, ["check", str(made_pack)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    for word in ("manifest and hashes", "known answer", "graph and stored network"):
        assert word in done.output


def test_check_fails_for_a_spoilt_pack(runner: CliRunner, own_pack: Path) -> None:
    """`check` ends with 1 and one line that names the spoilt file."""
    with (own_pack / "detector.onnx").open("ab") as file:
        file.write(b"x")
    done = runner.invoke(main, ["check", str(own_pack)])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert "detector.onnx: its SHA-256 is not the one" in done.stderr


def test_calibrate_prints_the_thresholds(runner: CliRunner, own_pack: Path, shared_data: Path) -> None:
    """`calibrate` stores new thresholds and prints them with their pairs."""
    done = runner.invoke(main, ["calibrate", str(own_pack), "--data", str(shared_data), "--set", "celeba"])
    assert done.exit_code == 0, done.output
    verification = read_pack(own_pack).verification
    assert verification is not None
    assert f"{verification.num_impostor_pairs:,} impostor" in done.output
    assert f"{verification.thresholds[0].threshold:.4f}" in done.output


_WAITING = """
import sys
import export.assembly
from export.cli import main

def wait(*_):
    print("waiting", flush=True)
    sys.stdin.read()

export.assembly.place_detector = wait
main(sys.argv[1:])
"""


def test_sigterm_midway_leaves_nothing(tmp_path: Path) -> None:
    """An export that is told to end removes what it had begun, and says by its exit code that it was stopped."""
    wanted = order(tmp_path)
    arguments = ["checkpoint", str(wanted.checkpoint), "--detector", "x", "--name", "mine"]
    arguments += ["--out", str(tmp_path / "out"), "--license", "MIT"]
    command = [sys.executable, "-c", _WAITING, *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "waiting\n"
        assert list((tmp_path / "out").iterdir())
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 128 + signal.SIGTERM
    assert list((tmp_path / "out").iterdir()) == []
