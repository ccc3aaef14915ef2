"""Combined packs: each analyzer at its own side, tasks left out not computed, statements carried along."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from export.card import render
from export.check import predict_by
from export.cli import main
from export.combine import Combination, choose, combine
from export.errors import ExportError
from export.pack_check import check_pack
from export.pack_writer import write_manifest
from export.progress import Stages
from model.runtime.known_answer import known_crops
from model.runtime.pack import Figure, Threshold, TrainingRun, TrainingSet, Verification, read_pack, sha256_of
from model.runtime.session import open_session
from model.runtime.twin_part import TwinComparison, TwinPart, TwinSpeed
from tests.imported import Imported
from tests.packs import build_pack

THRESHOLDS = Verification(
    calibrated_on="somebody's pairs",
    num_images=100,
    num_impostor_pairs=5000,
    num_genuine_pairs=500,
    thresholds=(Threshold(fmr=0.01, threshold=0.4, tar=0.9),),
)


@pytest.fixture
def measured(own_pack: Path) -> Path:
    """The tiny pack with thresholds, figures and training data."""
    pack = read_pack(own_pack)
    figures = [
        Figure(task=task, metric="x", value=0.5, dataset="celeba", num_samples=10, command="mien-train evaluate tiny")
        for task in (*pack.tasks, "detection")
    ]
    changed = {
        "measured": tuple(figures),
        "verification": THRESHOLDS,
        "training_data": (TrainingSet(name="celeba", num_rows=7, terms="CelebA's"),),
        "training": (TrainingRun(part="analyzer", num_steps=5, num_images=40),),
        "license": "LicenseRef-Mine",
        "allowed_use": "Mine alone. The detector is of the pack other: ITS.",
    }
    write_manifest(own_pack, pack.model_copy(update=changed))
    return own_pack


def made(tmp_path: Path, *sources: str, detector: str | None = None) -> Path:
    """Combines packs into one named `both`."""
    return combine(Combination(sources, tmp_path / "out" / "both", detector), Stages())


def test_analyzers_answer_as_in_their_own_packs(measured: Path, small_faer: Imported, tmp_path: Path) -> None:
    """Tasks of two packs are answered by their own graphs, each at its own side and alignment, as they were before."""
    folder = made(tmp_path, f"{measured}=embedding,age", f"{small_faer.folder}=attributes")
    pack = read_pack(folder)
    assert pack.tasks == ("embedding", "age", "attributes")
    assert [(part.side_px, part.alignment) for part in pack.analyzers] == [(112, "arcface-5pt"), (64, "celeba")]
    for part, source in zip(pack.analyzers, (measured / "analyzer.onnx", small_faer.folder), strict=True):
        before = source if source.is_file() else source / part.file
        crops = known_crops(9, part.side_px, 3)
        expected, found = predict_by(open_session(before))(crops), predict_by(open_session(folder / part.file))(crops)
        assert tuple(found) == part.tasks
        for task in part.tasks:
            np.testing.assert_allclose(found[task], expected[task], atol=1e-5)
    check_pack(folder)


def test_a_task_left_out_is_not_computed(measured: Path, small_faer: Imported, tmp_path: Path) -> None:
    """What only left-out tasks needed is gone from the graph; an analyzer with none of the tasks is gone altogether."""
    folder = made(tmp_path, f"{measured}=gender", f"{small_faer.folder}=expression")
    graph = onnx.load(folder / "analyzer.onnx").graph
    whole = onnx.load(measured / "analyzer.onnx").graph
    assert [output.name for output in graph.output] == ["gender"]
    assert len(graph.node) < len(whole.node)
    assert not [tensor.name for tensor in graph.initializer if ".recognition." in tensor.name]
    assert [tensor.name for tensor in whole.initializer if ".recognition." in tensor.name]
    assert {path.name for path in folder.glob("*.onnx")} == {"analyzer.onnx", "faer-expression.onnx", "detector.onnx"}


def test_statements_go_along_with_the_tasks(measured: Path, small_faer: Imported, tmp_path: Path) -> None:
    """Thresholds, space, figures, data and licences are those of what was taken; the card is the manifest's."""
    folder = made(tmp_path, f"{measured}=embedding,age", f"{small_faer.folder}=attributes")
    pack, source = read_pack(folder), read_pack(measured)
    assert (pack.verification, pack.embedding_space) == (THRESHOLDS, source.embedding_space)
    assert {figure.task for figure in pack.measured} == {"embedding", "age", "detection"}
    assert [entry.name for entry in pack.training_data] == ["celeba"]
    assert [(run.part, run.file, run.num_steps) for run in pack.training] == [("analyzer", "analyzer.onnx", 5)]
    assert "- analyzer `analyzer.onnx`: 5 steps, 40 images drawn" in (folder / "CARD.md").read_text()
    assert "- `faer-attributes.onnx`: no record of the training lay" in (folder / "CARD.md").read_text()
    assert pack.license == "LicenseRef-Mine AND LicenseRef-Not-Stated"
    assert pack.allowed_use.startswith("embedding, age of tiny (LicenseRef-Mine): Mine alone. attributes of faer (")
    assert pack.allowed_use.endswith("The detector is of the pack tiny: LicenseRef-Mine.")
    assert pack.allowed_use.count("The detector is of the pack") == 1
    assert pack.exported_with["compared analyzer.onnx"] == source.exported_with["compared"]
    assert [part.origin is not None for part in pack.analyzers] == [True, True]
    assert (folder / "CARD.md").read_text() == render(pack)


def test_without_its_embedding_a_pack_brings_no_thresholds(
    measured: Path, small_face_analysis: Imported, tmp_path: Path
) -> None:
    """The embedding's pack alone gives the space and the thresholds; one that gives other tasks gives neither."""
    folder = made(tmp_path, f"{measured}=age", f"{small_face_analysis.folder}=embedding,race")
    pack, source = read_pack(folder), read_pack(small_face_analysis.folder)
    assert (pack.verification, pack.embedding_space) == (None, source.embedding_space)
    assert pack.tasks == ("age", "embedding", "race")
    embedding = next(part for part in pack.analyzers if part.tasks == ("embedding",))
    assert embedding.embedding_dim == 12


def test_graphs_of_one_name_stand_side_by_side(measured: Path, tmp_path: Path) -> None:
    """Two packs whose graphs are called the same keep both, the second under its pack's name."""
    other = build_pack(tmp_path / "painted", name="painted", tasks=[["race"]])
    (other / "analyzer-0.onnx").rename(other / "analyzer.onnx")
    text = (other / "pack.json").read_text().replace("analyzer-0.onnx", "analyzer.onnx")
    (other / "pack.json").write_text(text)
    folder = made(tmp_path, f"{measured}=age", str(other))
    assert [part.file for part in read_pack(folder).analyzers] == ["analyzer.onnx", "painted-analyzer.onnx"]


def test_every_crop_size_and_alignment_goes_together(tmp_path: Path) -> None:
    """A pack of a five-point and a box analyzer is taken apart and put together again, its box scale kept."""
    source = build_pack(tmp_path / "two", tasks=[["embedding", "age"], ["gender", "race"]], sides_px=[32, 64])
    folder = made(tmp_path, f"{source}=race,embedding", detector="nano")
    parts = read_pack(folder).analyzers
    assert [(part.tasks, part.side_px, part.alignment) for part in parts] == [
        (("embedding",), 32, "arcface-5pt"),
        (("race",), 64, "box"),
    ]
    assert parts[1].box_scale == read_pack(source).analyzers[1].box_scale
    check_pack(folder)


@pytest.mark.parametrize("tasks", ["age,gender", "embedding,expression,age,gender,attributes,race"])
def test_a_quantised_twin_goes_along(own_pack: Path, tmp_path: Path, tasks: str) -> None:
    """An analyzer's twin is copied, or cut to the same tasks, and stated with its hash and what is still true of it."""
    twin = shutil.copyfile(own_pack / "analyzer.onnx", own_pack / "analyzer.int8.onnx")
    pack = read_pack(own_pack)
    (part,) = pack.analyzers
    stated = TwinPart(
        file=twin.name,
        sha256=sha256_of(twin),
        known_answer=part.known_answer,
        preferred=True,
        embedding_space="own",
        cosine_mean=0.9,
        cosine_min=0.8,
        speed=(TwinSpeed(batch_size=1, ratio_min=1, ratio_median=2, ratio_max=3),),
        compared=tuple(
            TwinComparison(task=task, metric="x", dataset="celeba", float32=0.5, int8=0.4, num_samples=9)
            for task in part.tasks
        ),
    )
    write_manifest(own_pack, pack.model_copy(update={"analyzers": (part.model_copy(update={"int8": stated}),)}))
    folder = made(tmp_path, f"{own_pack}={tasks}")
    (part,) = read_pack(folder).analyzers
    assert part.int8 is not None
    assert part.int8.file == "analyzer.int8.onnx"
    assert part.int8.sha256 == sha256_of(folder / part.int8.file)
    outputs = [spec.name for spec in open_session(folder / part.int8.file).outputs]
    assert outputs == list(part.tasks) == tasks.split(",")
    assert part.int8.known_answer == part.known_answer
    assert [row.task for row in part.int8.compared] == list(part.tasks)
    is_whole = "embedding" in part.tasks
    assert (part.int8.preferred, len(part.int8.speed)) == (is_whole, int(is_whole))
    assert (part.int8.embedding_space, part.int8.cosine_mean) == (("own", 0.9) if is_whole else (None, None))


def test_a_float16_twin_goes_along(own_pack: Path, tmp_path: Path) -> None:
    """A float16 twin is cut to the tasks that are taken, under its own name, with the figures of these tasks."""
    assert CliRunner().invoke(main, ["halve", str(own_pack)]).exit_code == 0
    folder = made(tmp_path, f"{own_pack}=age,gender")
    (part,) = read_pack(folder).analyzers
    assert part.float16 is not None
    assert part.float16.file == "analyzer.float16.onnx"
    assert part.float16.sha256 == sha256_of(folder / part.float16.file)
    assert [spec.name for spec in open_session(folder / part.float16.file).outputs] == ["age", "gender"]
    assert part.float16.embedding_space is None


def test_another_detector_can_be_named(measured: Path, tmp_path: Path) -> None:
    """`--detector` puts another one in than the first pack's, with its own terms."""
    folder = made(tmp_path, f"{measured}=age", detector="nano")
    assert "The detector is of the pack nano:" in read_pack(folder).allowed_use
    assert read_pack(folder).detector.sha256 != read_pack(measured).detector.sha256


def test_a_pack_named_twice_is_one_graph(made_pack: Path) -> None:
    """Two mentions of one pack are one choice with both's tasks."""
    (choice,) = choose([f"{made_pack}=age", f"{made_pack}=gender"])
    assert choice.tasks == ("age", "gender")


@pytest.mark.parametrize(
    ("sources", "complaint"),
    [
        (("{tiny}=age", "{tiny}=age"), "age is answered by {tiny} and by {tiny}, and a pack answers it once"),
        (("{tiny}=age,age",), "age is answered by {tiny} and by {tiny}, and a pack answers it once"),
        (("{tiny}", "nano=race"), "race is answered by {tiny} and by nano, and a pack answers it once"),
        (("{tiny}=mood",), "no task is named 'mood'; there are: embedding, expression, age"),
        (("{tiny}=",), "no task is named ''"),
        (("{aged}=gender",), "pack aged does not answer gender; it answers age"),
        (("nowhere/at/all",), "no pack at nowhere/at/all"),
        (("nosuch=age",), "no pack named 'nosuch'"),
    ],
)
def test_what_cannot_be_combined_is_one_line_and_leaves_nothing(
    made_pack: Path, tmp_path: Path, sources: tuple[str, ...], complaint: str
) -> None:
    """A task taken twice, no task, another pack's task, no pack: one line on the error stream, and no file."""
    aged = build_pack(tmp_path / "aged", name="aged", tasks=[["age"]])
    named = [source.format(tiny=made_pack, aged=aged) for source in sources]
    done = CliRunner().invoke(main, ["combine", *named, "--out", str(tmp_path / "out" / "both")])
    assert done.exit_code == 1
    assert complaint.format(tiny=made_pack) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_a_spoilt_source_is_refused(own_pack: Path, tmp_path: Path) -> None:
    """A pack whose file is not what it states is not combined."""
    with (own_pack / "analyzer.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ExportError, match=r"analyzer\.onnx: its SHA-256"):
        made(tmp_path, str(own_pack))


def test_a_cut_that_answers_otherwise_is_refused(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a cut graph to answer something else than the whole one, no pack would come of it."""
    import export.combine

    other = onnx.load(measured / "analyzer.onnx")
    for node in other.graph.node:
        node.output[:] = ["raw" if name == "age" else name for name in node.output]
    other.graph.node.append(onnx.helper.make_node("Neg", ["raw"], ["age"]))
    monkeypatch.setattr(export.combine, "cut", lambda *_: other.SerializeToString())
    with pytest.raises(ExportError, match=r"age: without the tasks left out, analyzer\.onnx answers otherwise"):
        made(tmp_path, f"{measured}=age,gender")
    assert not list((tmp_path / "out").glob("*"))


def test_the_command_makes_a_pack_and_says_how_to_serve_it(made_pack: Path, tmp_path: Path) -> None:
    """`combine` prints where the pack is, and its manifest keeps the version that was asked for."""
    out = tmp_path / "packs" / "few"
    done = CliRunner().invoke(main, ["combine", f"{made_pack}=age,race", "--out", str(out), "--version", "3.1"])
    assert done.exit_code == 0, done.output
    assert f"mien serve --pack {out}" in done.output
    assert (read_pack(out).version, read_pack(out).tasks) == ("3.1", ("age", "race"))
    shutil.rmtree(out)
