"""Packs that lack tasks, or spread them over analyzers of other crops: every route and table answers what there is."""

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from model.runtime.labels import TASKS, Task
from model.runtime.pack import Alignment
from service.cli import main
from service.schemas import AnalyzeAnswer, FaceAnswer, PackAnswer, VerifyAnswer
from tests.packs import Square, build_pack, photo
from tests.service.serving import Served, serving, settings_for

PHOTO = photo(Square(16, 16, 32), Square(64, 48, 64))
ALWAYS = {"box", "score", "landmarks", "quality"}


@contextlib.contextmanager
def serving_pack(
    folder: Path, tasks: list[list[Task]], alignments: list[Alignment] | None = None, sides_px: list[int] | None = None
) -> Iterator[Served]:
    built = build_pack(folder, tasks=tasks, sides_px=sides_px or [32] * len(tasks), alignments=alignments)
    with serving(settings_for(built)) as service:
        yield service


def analyze(served: Served, query: str = "") -> httpx.Response:
    return served.client.post(f"/analyze{query}", content=PHOTO, headers={"content-type": "image/png"})


def faces(answer: httpx.Response) -> list[FaceAnswer]:
    assert answer.status_code == 200, answer.text
    return AnalyzeAnswer.model_validate_json(answer.content).images[0].faces


@pytest.mark.parametrize("task", TASKS)
def test_a_pack_of_one_task_answers_it_and_nothing_else(tmp_path: Path, task: Task) -> None:
    """/analyze has the one key, /model states the one task, and another task is refused by name."""
    with serving_pack(tmp_path / "one", [[task]]) as served:
        answer = analyze(served)
        assert len(faces(answer)) == 2
        assert all(set(face) == ALWAYS | {task} for face in answer.json()["images"][0]["faces"])
        stated = PackAnswer.model_validate_json(served.client.get("/model").content)
        assert stated.tasks == [task]
        assert (stated.embedding_dim is None) == (task != "embedding")
        other = analyze(served, "?tasks=age" if task != "age" else "?tasks=race")
        assert (other.status_code, other.json()["title"]) == (422, "Unknown task or option")


@pytest.mark.parametrize("task", [task for task in TASKS if task != "embedding"])
def test_a_pack_without_embeddings_refuses_to_compare(tmp_path: Path, task: Task) -> None:
    """/verify and /search answer 422 and name the task that is missing, for images and for embeddings that are sent."""
    image = base64.b64encode(PHOTO).decode()
    with serving_pack(tmp_path / "none", [[task]]) as served:
        asked = [
            ("/verify", {"image_a": image, "image_b": image}),
            ("/verify", {"embedding_a": [1.0, 0.0], "embedding_b": [1.0, 0.0]}),
            ("/search", {"probe": [1.0], "gallery": [[1.0]]}),
        ]
        for path, body in asked:
            answer = served.client.post(path, json=body)
            assert answer.status_code == 422
            assert answer.headers["content-type"] == "application/problem+json"
            assert "embedding task" in answer.json()["detail"]


def test_three_analyzers_of_three_alignments_and_sides_answer_as_one(tmp_path: Path) -> None:
    """Each face is cut for each analyzer in its own way; a pair is compared though the embedding's is not the first."""
    tasks: list[list[Task]] = [["attributes", "gender"], ["embedding"], ["age"]]
    alignments: list[Alignment] = ["celeba", "arcface-5pt", "box"]
    with serving_pack(tmp_path / "three", tasks, alignments, [224, 112, 96]) as served:
        found = faces(analyze(served))
        assert len(found) == 2
        for face in found:
            assert (face.attributes is None, face.gender is None, face.embedding is None, face.age is None) == (
                False,
            ) * 4
            assert (face.expression, face.race) == (None, None)
            assert face.quality is not None
        image = base64.b64encode(PHOTO).decode()
        compared = served.client.post("/verify", json={"image_a": image, "image_b": image})
        verdict = VerifyAnswer.model_validate_json(compared.content)
        assert verdict.similarity == pytest.approx(1, abs=1e-6)
        assert verdict.same is True
        only = analyze(served, "?tasks=age&crops=true").json()["images"][0]["faces"]
        assert all(set(face) == ALWAYS | {"age", "crop"} for face in only)


def test_an_aligned_crop_is_of_one_alignment(tmp_path: Path) -> None:
    """aligned=true over analyzers of several alignments is refused, and says which tasks go together."""
    tasks: list[list[Task]] = [["embedding"], ["age", "gender"]]
    with serving_pack(tmp_path / "two", tasks) as served:
        refused = analyze(served, "?aligned=true")
        assert refused.status_code == 422
        assert "arcface-5pt: embedding; box at 1: age,gender" in refused.json()["detail"]
        (face,) = faces(analyze(served, "?aligned=true&tasks=age,gender"))
        assert face.age is not None


@pytest.mark.parametrize("task", TASKS)
def test_the_command_line_shows_and_draws_any_single_task(tmp_path: Path, task: Task) -> None:
    """`mien analyze` and `mien pack show` read well with any one task, and a picture is drawn."""
    pack = build_pack(tmp_path / "one", tasks=[[task]])
    (tmp_path / "photo.png").write_bytes(PHOTO)
    drawn = tmp_path / "drawn.png"
    arguments = ["analyze", str(tmp_path / "photo.png"), "--pack", str(pack), "--draw", str(drawn)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "2 faces in" in done.output
    header = next(line.split() for line in done.stdout.splitlines() if "score" in line)
    assert [name for name in header if name in TASKS] == ([] if task == "embedding" else [task])
    assert drawn.stat().st_size > 0
    told = CliRunner().invoke(main, ["pack", "show", str(pack)])
    assert (told.exit_code, f"tasks        {task}" in told.output) == (0, True)


def test_the_command_line_says_why_it_cannot_compare(tmp_path: Path) -> None:
    """`mien verify` with a pack without embeddings is one line on stderr and exit code 1."""
    pack = build_pack(tmp_path / "one", tasks=[["age"]])
    (tmp_path / "photo.png").write_bytes(PHOTO)
    photo_path = str(tmp_path / "photo.png")
    done = CliRunner().invoke(main, ["verify", photo_path, photo_path, "--pack", str(pack)])
    assert done.exit_code == 1
    assert "has no embedding task" in done.stderr
    assert "Traceback" not in done.stderr
