"""The command line: tables, JSON, drawings, verdicts, and one clear line for every mistake of its user."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from model.runtime.tensorrt import TENSORRT
from service.cli import main
from service.client import free_port, serving
from service.schemas import AnalyzeAnswer
from tests.packs import build_pack

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Runs `mien` in this process."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that opens in an instant, for what does not depend on what a face is."""
    return build_pack(tmp_path_factory.mktemp("packs") / "tiny")


def one_line(result: Result) -> str:
    """The one line on stderr of a command that failed without a traceback."""
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
    errors = [line for line in result.stderr.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert len(errors) == 1, result.stderr
    return errors[0]


def test_analyze_prints_a_table_of_every_face(run: Run, six_faces_path: Path) -> None:
    """Six faces, numbered, each with box, score, age, gender, expression, attributes and quality."""
    result = run("analyze", six_faces_path)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"6 faces in {six_faces_path}"
    header = next(line for line in lines if "expression" in line).split()
    assert header == ["face", "box", "score", "age", "gender", "expression", "attributes", "quality"]
    assert [line.split()[0] for line in lines if line.strip()[:1].isdigit() and " px" in line] == list("123456")


def test_json_is_the_answer_that_http_gives(run: Run, six_faces_path: Path, six_faces: bytes) -> None:
    """`--json` prints what POST /analyze answers: the same keys, and the same numbers but the timings."""
    result = run("analyze", six_faces_path, "--json")
    assert result.exit_code == 0, result.stderr
    AnalyzeAnswer.model_validate_json(result.stdout)
    with serving(free_port()) as service:
        answer = service.post_files("/analyze", [("files", "t1.jpg", six_faces)])
    printed, served = json.loads(result.stdout), json.loads(answer.body)
    assert printed.keys() == served.keys()
    assert printed["timings_ms"].keys() == served["timings_ms"].keys()
    assert (printed["model"], len(printed["images"])) == (served["model"], 1)
    for mine, theirs in zip(printed["images"][0]["faces"], served["images"][0]["faces"], strict=True):
        assert mine.keys() == theirs.keys()
        assert mine["box"] == pytest.approx(theirs["box"], abs=0.01)
        assert mine["embedding"] == pytest.approx(theirs["embedding"], abs=1e-4)
        assert mine["attributes"] == pytest.approx(theirs["attributes"], abs=1e-4)


def test_draw_writes_the_photograph_with_its_faces_marked(run: Run, tmp_path: Path, six_faces_path: Path) -> None:
    """The named picture has the photograph's size, and differs from it at every box's edge."""
    target = tmp_path / "marked.png"
    result = run("analyze", six_faces_path, "--draw", target)
    assert result.exit_code == 0, result.stderr
    assert str(target) in result.stderr
    with Image.open(target) as drawn, Image.open(six_faces_path) as photo:
        assert drawn.size == photo.size
        assert sum(a != b for a, b in zip(drawn.get_flattened_data(), photo.get_flattened_data(), strict=True)) > 10_000


@pytest.mark.parametrize(
    ("draw", "written"),
    [("out.png", ["out-1.png", "out-2.png"]), ("marked", ["marked/astronaut.png", "marked/t1.png"])],
)
def test_draw_of_several_photographs_numbers_them_or_fills_a_folder(
    run: Run, tmp_path: Path, tiny: Path, six_faces_path: Path, astronaut_path: Path, draw: str, written: list[str]
) -> None:
    """A picture's name is numbered; any other is a folder that is made."""
    result = run("analyze", six_faces_path, astronaut_path, "--draw", tmp_path / draw, "--pack", tiny)
    assert result.exit_code == 0, result.stderr
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == written


def test_bad_photographs_get_a_line_each_and_the_others_are_answered(
    run: Run, tmp_path: Path, six_faces_path: Path, astronaut_path: Path
) -> None:
    """A missing file, a folder and an unreadable picture are named on stderr; the exit code is 1."""
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear reader, I am no photograph.")
    result = run("analyze", six_faces_path, tmp_path / "none.jpg", tmp_path, letter, astronaut_path)
    assert result.exit_code == 1
    assert f"6 faces in {six_faces_path}" in result.stdout
    assert f"1 face in {astronaut_path}" in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0] == f"{tmp_path / 'none.jpg'}: There is no such file."
    assert lines[1] == f"{tmp_path}: This is a folder and no photograph."
    assert lines[2].startswith(f"{letter}: These bytes are no image")


def test_a_bad_photograph_has_its_error_in_json_too(run: Run, tmp_path: Path, tiny: Path, astronaut_path: Path) -> None:
    """In JSON each photograph has its place, in order, and a bad one its error."""
    result = run("analyze", tmp_path / "none.jpg", astronaut_path, "--json", "--pack", tiny)
    assert result.exit_code == 1
    images = AnalyzeAnswer.model_validate_json(result.stdout).images
    assert [image.name for image in images] == ["none.jpg", "astronaut.png"]
    assert images[0].error is not None
    assert images[0].error.status == 404
    assert images[1].error is None


def test_many_photographs_are_answered_in_their_order(
    run: Run, tiny: Path, six_faces_path: Path, astronaut_path: Path
) -> None:
    """More photographs than are analysed side by side come back in the order in which they were named."""
    paths = [six_faces_path, astronaut_path] * 6
    result = run("analyze", *paths, "--json", "--pack", tiny)
    assert [image["name"] for image in json.loads(result.stdout)["images"]] == [path.name for path in paths]


def test_tasks_choose_what_is_answered(run: Run, six_faces_path: Path) -> None:
    """Only the named tasks are in the answer."""
    result = run("analyze", six_faces_path, "--json", "--tasks", "age, gender", "--max-faces", "2")
    faces = json.loads(result.stdout)["images"][0]["faces"]
    assert [set(face) for face in faces] == [{"box", "score", "landmarks", "age", "gender", "quality"}] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "x.jpg", "--tasks", "ages"], "unknown task 'ages'; did you mean 'age'?"),
        (["analyze", "x.jpg", "--jsn"], "--json"),
        (["analyze"], "Missing argument 'PHOTO...'"),
        (["analyze", "x.jpg", "--pack", "nanno"], "no pack named 'nanno'"),
        (["analyze", "x.jpg", "--pack", "./nowhere"], "no pack at ./nowhere"),
        (["analyze", "x.jpg", "--draw", "out.docx"], "a picture's name ends in one of"),
        (["analyze", "x.jpg", "--min-score", "3"], "--min-score"),
        (["verify", "x.jpg"], "Missing argument 'B'"),
        (["anlyze", "x.jpg"], "analyze"),
        (["serve", "--port", "99999"], "MIEN_PORT"),
        (["serve", "--host", "0.0.0.0"], "MIEN_ALLOW_ANONYMOUS"),
        (["serve", "--pack", "nanno"], "no pack named 'nanno'"),
        (["pack", "show", "nanno"], "no pack named 'nanno'"),
        (["pack", "check", "nanno"], "no pack named 'nanno'"),
    ],
)
def test_a_mistake_is_one_clear_line(
    run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """Unknown tasks, options, commands and packs, and values out of bounds, are named with what was meant."""
    if "--pack" not in arguments:
        monkeypatch.setenv("MIEN_PACK", str(tiny))
    assert message in one_line(run(*arguments))


def test_an_unknown_variable_is_named_with_the_nearest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt MIEN_ variable stops the command."""
    monkeypatch.setenv("MIEN_MAX_FILE", "3")
    assert "did you mean MIEN_MAX_FILES?" in one_line(run("serve"))


def test_verify_knows_a_poorer_copy_and_a_stranger(
    run: Run, tmp_path: Path, six_faces_path: Path, astronaut_path: Path
) -> None:
    """A photograph's poorer copy is the same person; an astronaut is not the man at the card table."""
    with Image.open(astronaut_path) as photo:
        photo.convert("RGB").save(tmp_path / "copy.jpg", quality=50)
    same = run("verify", astronaut_path, tmp_path / "copy.jpg")
    assert same.exit_code == 0, same.stderr
    assert same.stdout.startswith("same person (similarity 0.")
    assert "false-match rate 0.001" in same.stdout
    other = run("verify", astronaut_path, six_faces_path)
    assert other.stdout.startswith("different people (similarity ")


def test_verify_takes_a_threshold_or_a_rate(run: Run, tiny: Path, astronaut_path: Path, tmp_path: Path) -> None:
    """A rate that the pack was not calibrated at is refused with those that it was."""
    assert "0.01, 0.001, 0.0001" in one_line(
        run("verify", astronaut_path, astronaut_path, "--fmr", "0.5", "--pack", tiny)
    )


def test_verify_says_which_photograph_has_no_face(run: Run, tmp_path: Path, tiny: Path) -> None:
    """A photograph without a face, or that is missing, is named."""
    blank = tmp_path / "blank.png"
    Image.new("RGB", (200, 200)).save(blank)
    assert "No face was found on image_a" in one_line(run("verify", blank, blank, "--pack", tiny))
    missing = one_line(run("verify", blank, tmp_path / "none.jpg", "--pack", tiny))
    assert missing == f"Error: {tmp_path / 'none.jpg'}: There is no such file."


def test_pack_list_show_and_check_speak_of_the_shipped_pack(run: Run) -> None:
    """The pack that ships is listed, shown with its terms and thresholds, and found whole."""
    assert run("pack", "list").stdout.startswith("nano  ")
    shown = run("pack", "show", "nano").stdout
    assert "allowed use" in shown
    assert "at FMR 0.001" in shown
    checked = run("pack", "check", "nano")
    assert checked.exit_code == 0, checked.stderr
    assert "the known answer is right" in checked.stdout


def test_pack_check_names_a_file_that_was_changed(run: Run, tmp_path: Path) -> None:
    """One changed byte is found, and the file is named."""
    folder = build_pack(tmp_path / "changed")
    data = bytearray((folder / "analyzer-0.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "analyzer-0.onnx").write_bytes(data)
    assert "analyzer-0.onnx: its SHA-256 is not the one" in one_line(run("pack", "check", folder))


def test_serve_with_tensorrt_that_is_missing_is_one_line(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mien serve` asked for TensorRT where there is none ends with one line and a code that is not 0."""
    if TENSORRT in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT")
    monkeypatch.setenv("MIEN_TENSORRT", "true")
    result = run("serve", "--device", "cuda", "--pack", str(tiny), "--port", "0")
    assert one_line(result).startswith("Error: TensorRT was asked for, and this onnxruntime")


def test_help_is_enough_to_begin_with() -> None:
    """`mien --help` as a process shows the commands and an example of each."""
    done = subprocess.run([sys.executable, "-m", "service", "--help"], capture_output=True, text=True, check=True)
    for command in ("mien analyze photo.jpg", "mien verify a.jpg b.jpg", "mien serve", "pack"):
        assert command in done.stdout


def test_serve_says_where_it_serves_and_ends_in_order(tiny: Path) -> None:
    """The command serves the pack that it was told to, and SIGTERM ends it with 0 (the client sees to that)."""
    with serving(free_port(), str(tiny)) as service:
        answer = service.ask("GET", "/model")
        assert json.loads(answer.body)["name"] == "tiny"
    assert service.process.returncode == 0
