"""`mien extract` and `mien match` with the shipped pack: photographs against the service, LFW against evaluation."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from model.training.evaluation.verification import all_pairs, equal_error_rate, thresholds_at_fmr
from service.cli import main
from service.client import free_port, serving


def mien(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr


def test_extracted_rows_are_the_services_answers(tmp_path: Path, six_faces_path: Path, astronaut_path: Path) -> None:
    """The seven faces of two real photographs have in a .jsonl the numbers that POST /analyze answers."""
    listed = tmp_path / "photos.txt"
    listed.write_text(f"{six_faces_path}\n{astronaut_path} 0 0 40\n")
    mien("extract", listed, "--out", tmp_path / "faces.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["t1.jpg"] * 6 + ["astronaut.png"]
    files = [("files", path.name, path.read_bytes()) for path in (six_faces_path, astronaut_path)]
    with serving(free_port()) as service:
        answer = json.loads(service.post_files("/analyze", files).body)
    faces = [face for image in answer["images"] for face in image["faces"]]
    for row, face in zip(rows, faces, strict=True):
        assert set(face) < set(row)
        assert row["box"] == pytest.approx(face["box"], abs=0.01)
        assert row["embedding"] == pytest.approx(face["embedding"], abs=1e-4)
        assert row["age"]["years"] == pytest.approx(face["age"]["years"], abs=0.01)
        assert row["embedding_space"] == answer["model"]["embedding_space"]


def test_match_and_evaluation_measure_the_same(tmp_path: Path, shared_data: Path) -> None:
    """On 400 of LFW's images `mien match` counts the pairs, rates and EER that the evaluation's own code finds."""
    rows = pq.read_table(shared_data / "lfw-val.parquet", columns=["image", "identity"]).to_pylist()
    people = {name: number for number, name in enumerate(sorted({row["identity"] for row in rows}))}
    seen: Counter[int] = Counter()
    for row in sorted(rows, key=lambda row: str(row["identity"]))[:400]:
        person = people[row["identity"]]
        seen[person] += 1
        path = tmp_path / "lfw" / f"{person:05}" / f"{person:05}_{seen[person]:03}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"])
    mien("extract", tmp_path / "lfw", "--aligned", "--out", tmp_path / "features")
    mien("match", "--probe", tmp_path / "features", "--out", tmp_path / "scores", "--group", "lfw")
    report = json.loads((tmp_path / "scores" / "lfw_report.json").read_text())
    files = sorted((tmp_path / "features").rglob("*.npy"))
    scores = all_pairs(np.stack([np.load(file) for file in files]), [file.name.split("_")[0] for file in files])
    assert (report["num_authentic"], report["num_impostor"]) == (len(scores.genuine), len(scores.impostor))
    assert report["num_authentic"] > 100
    points = thresholds_at_fmr(scores.impostor, scores.genuine, (1e-1, 1e-2, 1e-3))
    one = 1 / report["num_authentic"] + 1e-9  # a score may round across a threshold
    for said, found in zip(report["tar_at_fmr"], points, strict=False):
        assert said["tar"] == pytest.approx(found.tar, abs=one)
        assert said["threshold"] == pytest.approx(found.threshold, abs=2e-6)
    assert report["eer"] == pytest.approx(equal_error_rate(scores.impostor, scores.genuine)[0], abs=one)
