"""Going on: a run that was stopped or killed ends with the same rows as one that never was."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.analysis import ImageResult, Options
from service.app import open_analyzer
from service.extract.extraction import Extraction
from service.extract.forms import JsonlForm
from service.extract.marks import Counts
from service.extract.targets import RowFile
from tests.packs import Square, photo
from tests.service.extract.conftest import EMPTY, RED, Extract, one_line
from tests.service.serving import settings_for

NUM = 60


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of sixty photographs, some without a face, some bad."""
    lines = []
    for number in range(NUM):
        path = tmp_path / "crowd" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        data = photo(Square(16, 16, 32, (255, 100 + number, 240)))
        path.write_bytes(EMPTY if number % 9 == 4 else RED[:100] if number % 10 == 7 else data)
        lines.append(f"{path}\n")
    file = tmp_path / "list.txt"
    file.write_text("".join(lines))
    return file


def cut_short(target: Path, num_paths: int) -> None:
    """What a kill leaves behind: the mark of earlier, and half a row past it."""
    part, mark = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    assert f'"num_paths":{num_paths}' in mark.read_text()
    with part.open("ab") as file:
        file.write(b'{"path":"half a r')


@pytest.mark.parametrize("form", ["csv", "jsonl", "txt", "parquet"])
def test_a_killed_run_goes_on_behind_its_last_whole_row(
    extract: Extract, listed: Path, tmp_path: Path, form: str
) -> None:
    """Killed behind 23 images with half a row written, and resumed: the same bytes, no row twice, none missing."""
    if form == "parquet":
        pytest.importorskip("pyarrow.parquet")
    whole, target = tmp_path / f"whole.{form}", tmp_path / f"faces.{form}"
    expected = extract(listed, "--out", whole)
    assert expected.exit_code == 1  # the bad ones
    stop_behind(extract, listed, target, 23)
    cut_short(target, 23)
    assert not target.exists()
    again = extract(listed, "--out", target, "--resume")
    assert again.exit_code == 1, again.stderr
    assert target.read_bytes() == whole.read_bytes()
    assert expected.stderr.splitlines()[-1].split(";")[0] == again.stderr.splitlines()[-1].split(";")[0]
    assert f"; {NUM - 23} in " in again.stderr
    assert not target.with_name(f"{target.name}.part").exists()
    assert not target.with_name(f"{target.name}.part.json").exists()


def stop_behind(extract: Extract, listed: Path, target: Path, num_paths: int) -> None:
    """Runs the command, and interrupts it once so many images are written."""
    written = 0
    write = RowFile.write

    def counting(self: RowFile, path: Path, image: ImageResult, counts: Counts) -> None:
        nonlocal written
        write(self, path, image, counts)
        written += 1
        if written == num_paths:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowFile, "write", counting)
        result = extract(listed, "--out", target)
    assert result.exit_code == 130
    assert "stopped; the same command with --resume goes on" in result.stderr


def test_another_run_is_not_gone_on_with(extract: Extract, listed: Path, tmp_path: Path) -> None:
    """Other options, another order of the source and a damaged mark are refused, each in a line that names it."""
    target = tmp_path / "faces.csv"
    stop_behind(extract, listed, target, 11)
    assert "is there already: --resume" in one_line(extract(listed, "--out", target))
    other = one_line(extract(listed, "--out", target, "--resume", "--min-face", 5))
    assert "the run was begun with min-face 0, not 5" in other
    backwards = tmp_path / "backwards.txt"
    backwards.write_text("\n".join(reversed(listed.read_text().splitlines())))
    assert "its first 11 images, up to" in one_line(extract(backwards, "--out", target, "--resume"))
    part = target.with_name("faces.csv.part")
    kept = part.read_bytes()
    part.write_bytes(kept[:-5])
    assert "shorter than its mark" in one_line(extract(listed, "--out", target, "--resume"))
    part.write_bytes(kept)
    mark = target.with_name("faces.csv.part.json")
    mark.write_text("{")
    assert "is damaged" in one_line(extract(listed, "--out", target, "--resume"))
    mark.unlink()
    assert "is missing" in one_line(extract(listed, "--out", target, "--resume"))
    assert extract(listed, "--out", target, "--overwrite").exit_code == 1
    assert target.exists()


def test_a_folder_is_filled_up(extract: Extract, listed: Path, tmp_path: Path) -> None:
    """With `--resume` an image whose file is there is not analysed again; files half written are no files."""
    folder = tmp_path / "f"
    assert extract(listed, "--out", folder).exit_code == 1
    files = sorted((folder / "crowd").glob("*.npy"))
    before = {file: (file.stat().st_mtime_ns, np.load(file)) for file in files}
    for file in files[::2]:
        file.rename(file.with_name(f".{file.name}.part"))
    result = extract(listed, "--out", folder, "--resume")
    assert result.exit_code == 1
    assert f"{len(files) - len(files[::2])} there already" in result.stderr
    assert sorted((folder / "crowd").glob("*.npy")) == files
    for file, (written_ns, embedding) in before.items():
        np.testing.assert_array_equal(np.load(file), embedding)
        assert (file.stat().st_mtime_ns == written_ns) == (file not in files[::2])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)])
def test_a_real_process_goes_on_after_a_signal(
    extract: Extract, listed: Path, tmp_path: Path, tiny_pack: Path, number: signal.Signals, code: int
) -> None:
    """A process held up by its fortieth image and killed, or told to end, leaves no target; resumed, it is whole."""
    slow = tmp_path / "crowd" / "39.png"
    data = slow.read_bytes()
    slow.unlink()
    os.mkfifo(slow)  # reading it waits for whoever writes
    target = tmp_path / "faces.csv"
    command = [sys.executable, "-m", "service", "extract", str(listed), "--out", str(target), "--pack", str(tiny_pack)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        held = opened_by_reader(slow, process)
        process.send_signal(number)
        os.close(held)  # what it reads is then empty: told to end, it does not wait for more
        assert process.wait(60) == code
    assert not target.exists()
    slow.unlink()
    slow.write_bytes(data)
    again = extract(listed, "--out", target, "--resume")
    assert again.exit_code == 1, again.stderr
    stems = [line.split(",")[0][-6:-4] for line in target.read_text().splitlines()[1:]]
    expected = [f"{at:02}" for at in range(NUM) if at % 9 != 4 and at % 10 != 7]
    # Told to end while it waited for that image itself, it found it bad, and keeps that.
    verdict = {"39"} - set(stems) if number == signal.SIGTERM else set()
    assert stems == [stem for stem in expected if stem not in verdict]


def opened_by_reader(fifo: Path, process: "subprocess.Popen[bytes]") -> int:
    """The writing end of a pipe, once a process has opened the other."""
    while True:
        with contextlib.suppress(OSError):  # nobody reads yet
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(0.02)}")


def test_no_more_images_are_under_way_than_the_lanes_can_use(tmp_path: Path, tiny_pack: Path, listed: Path) -> None:
    """Of a source of four hundred no more are taken ahead of the last one written than are useful in flight."""
    one = Path(listed.read_text().splitlines()[0])
    taken = written = ahead = 0

    def paths() -> Iterator[Path]:
        nonlocal taken
        for _ in range(400):
            taken += 1
            yield one

    def told(path: Path, line: str | None) -> None:
        nonlocal written, ahead
        written += 1
        ahead = max(ahead, taken - written)

    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        target = RowFile(tmp_path / "x.jsonl", JsonlForm("s"), {}, resume=False, overwrite=False, one_an_image=False)
        counts = target.begin(iter(()))
        assert counts is not None
        extraction = Extraction(analyzer, Options(("age",)), target, counts, told)
        assert extraction.run(paths())
        target.finish()
        assert ahead < analyzer.useful_in_flight(aligned=False)
    assert (extraction.counts.images, extraction.counts.faces, written) == (400, 400, 400)
    assert len((tmp_path / "x.jsonl").read_bytes().splitlines()) == 400
