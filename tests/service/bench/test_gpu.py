"""The GPU benchmark, run as its command: rehearsed on the processor at tiny sizes, and refused without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.house import tree


def _ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree.PROJECT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tree.PROJECT / "benchmarks" / "gpu"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=200)


def test_a_rehearsal_measures_every_kind_of_row_and_writes_the_page(tmp_path: Path, six_faces_path: Path) -> None:
    """On the processor, tiny: limits, onnxruntime's ways, steps and the service leave rows, and the page shows them."""
    report, page = tmp_path / "gpu.json", tmp_path / "gpu.md"
    parts = [word for part in ("limits", "onnx", "steps", "served") for word in ("--part", part)]
    photo, places = ("--photo", str(six_faces_path)), ("--json", str(report), "--document", str(page))
    finished = _ran("--device", "cpu", "--steps", "8", *parts, *photo, *places)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(report.read_text())
    assert found["limits"]["rates"].keys() == {"float32", "tf32", "float16", "bfloat16"}
    ways = {(row["precision"], row["way"]) for row in found["timings"]}
    assert {("float32", "plain"), ("float32", "bound"), ("float16", "bound")} <= ways
    assert min(row["cosine_min"] for row in found["timings"]) > 0.999
    assert [(row["num"], row["num_slow"] <= row["num"]) for row in found["steps"] if row["kind"] == "all"] == [
        (8, True),
        (1, True),
    ]
    assert {row["request"] for row in found["served"]} == {"one face", "six faces", "aligned crop"}
    assert all("ran without recording" in row["what"] for row in found["omissions"])
    assert all(title in page.read_text() for title in ("# On a GPU", "## nano", "## Changing shapes", "## The service"))


def test_what_is_measured_anew_takes_the_place_of_what_was(tmp_path: Path) -> None:
    """With `--keep` other rows stay, and what an older run left out is left out no more once it has a row."""
    report = tmp_path / "gpu.json"
    some = ("--device", "cpu", "--part", "onnx", "--json", str(report), "--precision", "float32", "--batch", "2")
    assert _ran(*some, "--way", "bound", "--way", "CUDA graphs").returncode == 0
    old = json.loads(report.read_text())
    old["omissions"].append({"what": "nano, onnxruntime, float32, plain", "why": "it did not load"})
    report.write_text(json.dumps(old))
    assert _ran(*some, "--keep", "--way", "plain", "--way", "CUDA graphs").returncode == 0
    new = json.loads(report.read_text())
    assert [row["way"] for row in new["timings"]] == ["bound", "CUDA graphs", "plain"]
    assert new["timings"][1] != old["timings"][1]
    assert [row["what"] for row in new["omissions"]] == [
        "nano, onnxruntime, float32, CUDA graphs: ran without recording"
    ]


def test_another_gpus_results_are_not_added_to(tmp_path: Path) -> None:
    """Figures of two cards never stand in one file."""
    report = tmp_path / "gpu.json"
    assert _ran("--device", "cpu", "--part", "limits", "--json", str(report)).returncode == 0
    report.write_text(report.read_text().replace('"gpu": "none"', '"gpu": "NVIDIA Imaginary"'))
    finished = _ran("--device", "cpu", "--part", "limits", "--json", str(report), "--keep")
    assert finished.returncode == 1
    assert "is of NVIDIA Imaginary, and this is none" in finished.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    """Asked for a GPU where there is none, it measures nothing and exits with one clear line."""
    finished = _ran()
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.strip() == "Error: there is no CUDA device here; --device cpu rehearses at tiny sizes"
