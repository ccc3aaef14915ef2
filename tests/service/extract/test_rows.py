"""Rows: columns, and what stands in them, against the answer over HTTP."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import orjson

from model.runtime.labels import ATTRIBUTES, TASKS
from service.analysis import Options
from service.app import open_analyzer
from service.extract.forms import CsvForm, PredictForm
from service.extract.rows import as_base64, cells, columns, from_base64, objects, shown
from tests.service.extract.conftest import RED, TWO
from tests.service.serving import Served, settings_for


def test_a_csv_row_holds_the_numbers_that_http_answers(tiny_pack: Path, served: Served) -> None:
    """Every number of a face's answer stands in its column as the shortest text of the same float32."""
    answer = served.client.post("/analyze?tasks=" + ",".join(TASKS), files={"files": TWO}).json()["images"][0]
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        image = analyzer.analyze([TWO], Options(TASKS)).images[0]
    form = CsvForm(TASKS, "a-space")
    text = (form.header() + form.rows(Path("x/two.png"), image)).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2
    for number, (row, face) in enumerate(zip(rows, answer["faces"], strict=True), 1):
        assert (row["path"], row["face"], row["num_faces"]) == ("x/two.png", str(number), "2")
        assert (row["width"], row["height"]) == ("160", "160")
        said = {f"box_{name}": value for name, value in zip(("x1", "y1", "x2", "y2"), face["box"], strict=True)}
        said |= {
            f"{point}_{axis}": value
            for point, pair in face["landmarks"].items()
            for axis, value in zip("xy", pair, strict=True)
        }
        said |= {f"quality_{name}": value for name, value in face["quality"].items()}
        said |= {f"attribute_{name}": value for name, value in face["attributes"].items()}
        for task in ("expression", "race"):
            said |= {f"{task}_{label}": value for label, value in face[task]["probabilities"].items()}
            assert row[task] == face[task]["label"]
        said |= {"score": face["score"], "age": face["age"]["years"]}
        said |= {f"gender_{face['gender']['label']}": face["gender"]["probability"]}
        assert {name: np.float32(row[name]) for name in said} == {name: np.float32(said[name]) for name in said}
        assert row["gender"] == face["gender"]["label"]
        assert float(row["gender_female"]) + float(row["gender_male"]) == np.float32(1)
        assert from_base64(row["embedding"]).tolist() == np.float32(face["embedding"]).tolist()
        assert row["embedding_space"] == "a-space"
        accounted = {"path", "face", "num_faces", "width", "height", "expression", "race", "gender", "gender_female"}
        accounted |= {"gender_male", "embedding", "embedding_space"}
        assert set(row) == accounted | set(said)


def test_a_json_row_is_the_face_that_http_answers(tiny_pack: Path, served: Served) -> None:
    """A row has the keys and numbers of a face of POST /analyze, behind where it is from."""
    answer = served.client.post("/analyze?tasks=age,embedding", files={"files": RED}).json()["images"][0]["faces"][0]
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        image = analyzer.analyze([RED], Options(("embedding", "age"))).images[0]
    (row,) = [json.loads(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)) for row in objects("r.png", image, "s")]
    place = {"path": "r.png", "face": 1, "num_faces": 1, "width": 160, "height": 160, "embedding_space": "s"}
    assert row == {**place, **answer}


def test_columns_follow_the_tasks(tiny_pack: Path) -> None:
    """Only what was asked for has columns; the embedding stands last; a row is as long as the columns are."""
    assert [column.name for column in columns(("age",))][-2:] == ["quality_size", "age"]
    assert [column.name for column in columns(("embedding", "age"))][-3:] == ["age", "embedding_space", "embedding"]
    assert len([column for column in columns(TASKS) if column.name.startswith("attribute_")]) == len(ATTRIBUTES)
    for tasks in (TASKS, ("embedding",), ("race", "gender")):
        with open_analyzer(settings_for(tiny_pack)) as analyzer:
            image = analyzer.analyze([RED], Options(tuple(tasks))).images[0]
        assert [len(row) for row in cells("r", image, tasks, None)] == [len(columns(tasks))]


def test_an_aligned_crop_leaves_what_it_has_not_empty(tiny_pack: Path) -> None:
    """Score, landmarks and quality of an aligned crop are empty; its box is the image."""
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        image = analyzer.analyze([RED], Options(("age",), aligned=True)).images[0]
    form = CsvForm(("age",), None)
    (row,) = csv.DictReader(io.StringIO((form.header() + form.rows(Path("r.png"), image)).decode()))
    assert [row[f"box_{name}"] for name in ("x1", "y1", "x2", "y2")] == ["0.0", "0.0", "160.0", "160.0"]
    assert {row[name] for name in row if name == "score" or name.startswith(("quality", "nose", "left", "mouth"))} == {
        ""
    }


def test_a_prediction_is_the_published_row(tiny_pack: Path) -> None:
    """Race and gender are class numbers, the age whole years, of the largest face; a spaced path is quoted."""
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        image = analyzer.analyze([TWO], Options(("age", "gender", "race"))).images[0]
    outputs = image.faces[0].outputs
    expected = [int(outputs["race"].argmax()), int(outputs["gender"].argmax()), round(float(outputs["age"]))]
    line = PredictForm().rows(Path("a/b.png"), image).decode()
    assert line == " ".join(["a/b.png", *map(str, expected)]) + "\n"
    assert PredictForm().rows(Path("a b.png"), image).decode().startswith('"a b.png" ')


def test_paths_and_embeddings_survive_as_text() -> None:
    """base64 gives back the same float32; a file's name that is no UTF-8 is shown and does not end the run."""
    values = np.random.default_rng(3).standard_normal(12).astype(np.float32)
    assert from_base64(as_base64(values)).tobytes() == values.tobytes()
    assert shown(Path("a/\udcff.png")) == "a/\N{REPLACEMENT CHARACTER}.png"
    assert shown(Path("ä/人.png")) == "ä/人.png"
