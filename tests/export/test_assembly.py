"""The whole export: what a pack holds in the end, and that nothing is left of one that failed."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import export.assembly
from export.assembly import Order, export_checkpoint
from export.check import predict_by
from export.energy import Power
from export.errors import ExportError
from export.graph import predict_with
from export.pack_check import check_pack
from export.precision import embedding_space, rounded, stored_state
from export.progress import Stages
from model.analyzer import Analyzer
from model.checkpoint import load_network, save
from model.network import MultiTaskNetwork
from model.runtime.known_answer import breach, known_crops
from model.runtime.pack import read_pack
from model.runtime.session import open_session
from tests.export.conftest import tiny_network
from tests.export.packs import order, save_analyzer
from tests.export.test_check import right_at_the_traced_batch_alone
from tests.model.networks import small_iresnet


def test_a_pack_answers_what_its_checkpoint_answers(made_pack: Path) -> None:
    """The pack's graph answers, for crops it was never compared on, what the checkpoint's rounded network answers."""
    pack = read_pack(made_pack)
    images = np.random.default_rng(7).integers(0, 256, (6, 112, 112, 3), np.uint8)
    answers = predict_by(open_session(made_pack / "analyzer.onnx"))(images)
    expected = predict_with(Analyzer(rounded(tiny_network())).eval())(images)
    assert set(answers) == set(pack.tasks)
    for task in pack.tasks:
        np.testing.assert_allclose(answers[task], expected[task], atol=1e-4 if task != "age" else 5e-3)
    assert breach(pack.analyzers[0].known_answer, answers) is not None
    known = predict_by(open_session(made_pack / "analyzer.onnx"))(known_crops(pack.analyzers[0].known_answer.seed, 112))
    assert breach(pack.analyzers[0].known_answer, known) is None


def test_the_embedding_space_is_the_stored_weights(made_pack: Path) -> None:
    """The space is named by the weights as they are stored, and anyone can name it again from the pack's checkpoint."""
    space = read_pack(made_pack).embedding_space
    assert space == embedding_space(stored_state(tiny_network()))
    assert space == embedding_space(load_network(made_pack / "analyzer").state_dict())


def test_a_pack_says_how_it_was_compared(made_pack: Path) -> None:
    """Versions, batch sizes and the largest differences stand in the manifest; without a record, no training does."""
    pack = read_pack(made_pack)
    assert "batch sizes 1, 2, 3, 5, 16" in pack.exported_with["compared"]
    assert {"mien", "torch", "timm", "onnx", "onnxruntime", "command"} <= set(pack.exported_with)
    assert (pack.training, pack.training_data, pack.verification) == ((), (), None)


def test_only_the_pack_is_left_of_an_export(made_pack: Path) -> None:
    """Beside the pack nothing is left, hidden or not; in it stand the stated files, the manifest and the card."""
    assert [path.name for path in made_pack.parent.iterdir()] == ["tiny"]
    files = {str(path.relative_to(made_pack)) for path in made_pack.rglob("*") if path.is_file()}
    assert files == {"pack.json", "CARD.md", *(entry.file for entry in read_pack(made_pack).files())}


def _as_it_is(graph: bytes) -> bytes:
    return graph


def _without_its_name(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    model.graph.output[0].name = "x"
    for node in model.graph.node:
        node.output[:] = ["x" if name == "embedding" else name for name in node.output]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "seed"), [(right_at_the_traced_batch_alone, 0), (_without_its_name, 0), (_as_it_is, 1)]
)
def test_a_graph_that_fails_its_check_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_pack: Path, spoil: Callable[[bytes], bytes], seed: int
) -> None:
    """A graph with the batch baked in, without an output, or of another network is refused; no file is left."""
    graph = spoil((made_pack / "analyzer.onnx").read_bytes())
    monkeypatch.setattr(export.assembly, "trace", lambda _: graph)
    wanted = replace(order(tmp_path), detector=str(made_pack))
    save_analyzer(wanted.checkpoint, seed)
    with pytest.raises(ExportError, match=r"embedding|age"):
        export_checkpoint(wanted, Stages())
    assert list((tmp_path / "packs").iterdir()) == []


@pytest.mark.parametrize("stage", ["place_detector", "write_checkpoint", "write_manifest", "check_pack"])
def test_an_interrupt_at_any_stage_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_pack: Path, stage: str
) -> None:
    """Ctrl-C while the detector, the checkpoints, the manifest or the last check are worked on leaves no file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export.assembly, "trace", lambda _: (made_pack / "analyzer.onnx").read_bytes())
    monkeypatch.setattr(export.assembly, stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(replace(order(tmp_path), detector=str(made_pack)), Stages())
    assert list((tmp_path / "packs").iterdir()) == []


def test_a_packs_own_checkpoint_makes_the_same_pack_again(tmp_path: Path, made_pack: Path) -> None:
    """From the checkpoint and the detector inside a pack comes a pack of the same graphs, space and checkpoints."""
    again = Order(made_pack / "analyzer", str(made_pack), "again", "1.2.3", tmp_path, license="MIT")
    folder = export_checkpoint(again, Stages())
    first, second = read_pack(made_pack), read_pack(folder)
    assert second.analyzers == first.analyzers
    assert second.detector == first.detector
    assert second.embedding_space == first.embedding_space
    assert second.checkpoints == first.checkpoints
    check_pack(folder)


def test_an_onnx_file_is_taken_as_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_pack: Path) -> None:
    """An SCRFD graph by its path becomes the pack's detector, bytes as they are, with the format's usual settings."""
    monkeypatch.setattr(export.assembly, "trace", lambda _: (made_pack / "analyzer.onnx").read_bytes())
    named = replace(order(tmp_path), detector=str(made_pack / "detector.onnx"))
    folder = export_checkpoint(named, Stages())
    assert (folder / "detector.onnx").read_bytes() == (made_pack / "detector.onnx").read_bytes()
    pack = read_pack(folder)
    assert (pack.detector.min_score, pack.detector.input_width) == (0.5, 640)
    assert {entry.file.split("/")[0] for entry in pack.checkpoints} == {"analyzer"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"checkpoint": Path("nowhere")}, "no checkpoint at nowhere"),
        ({"detector": "nowhere"}, "nowhere is no detector"),
        ({"detector": "nowhere.onnx"}, r"cannot read nowhere\.onnx"),
        ({"license": None}, "is not recorded beside it: state --license"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    """A missing checkpoint, a missing detector, or an unknown licence is said in one line, and nothing is left."""
    wanted = order(tmp_path)
    with pytest.raises(ExportError, match=complaint) as caught:
        export_checkpoint(replace(wanted, **change), Stages())  # type: ignore[arg-type]  # one field of each type
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "packs").glob("*"))


def test_a_network_with_a_broken_weight_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_pack: Path
) -> None:
    """A checkpoint with a weight that is no number does not become a pack."""
    monkeypatch.setattr(export.assembly, "trace", lambda _: (made_pack / "analyzer.onnx").read_bytes())
    wanted = replace(order(tmp_path), detector=str(made_pack))
    network = tiny_network()
    with torch.no_grad():
        network.get_parameter("recognition.feature.0.weight")[0, 0] = math.nan
    save(wanted.checkpoint, network)
    with pytest.raises(ExportError, match=r"embedding: .*nan"):
        export_checkpoint(wanted, Stages())
    assert list((tmp_path / "packs").iterdir()) == []


def test_with_data_a_pack_is_measured_and_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_pack: Path, shared_data: Path
) -> None:
    """With data every figure stands under the command that gives it again, and thresholds stand with their pairs."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("lfw-val.parquet", "utkface-val.parquet"):
        (data / name).symlink_to((shared_data / name).resolve())
    monkeypatch.setattr(export.assembly, "trace", lambda _: (made_pack / "analyzer.onnx").read_bytes())
    wanted = replace(order(tmp_path), detector=str(made_pack), data=data)
    folder = export_checkpoint(wanted, Stages())
    pack = read_pack(folder)
    assert pack.verification is not None
    assert pack.verification.num_images == 5910
    assert pack.verification.num_impostor_pairs + pack.verification.num_genuine_pairs == 5910 * 5909 // 2
    assert [row.fmr for row in pack.verification.thresholds] == [1e-2, 1e-3, 1e-4]
    command = f"mien-train evaluate {folder} --data {data} --quality --train-gap --robustness"
    measured = {(entry.task, entry.metric): entry.command for entry in pack.measured if entry.group == "all"}
    for figure in (
        ("age", "mae_years"),
        ("gender", "accuracy"),
        ("race", "accuracy"),
        ("embedding", "tar_at_fmr_1e-03"),
    ):
        assert measured[figure] == command
    assert measured["embedding", "cosine_to_float32_weights_min"] == wanted.command
    assert f"`{command}`" in (folder / "CARD.md").read_text()
    assert "24 real crops of the validation sets" in pack.exported_with["compared"]


def _run_on(alignment: str, folder: Path) -> Path:
    """A training run of the tiny network whose records tell its crops' alignment; its checkpoint."""
    (folder / "run" / "last").mkdir(parents=True)
    recipe = {"rows": {"own": 2}, "losses": {}}
    (folder / "run" / "last" / "state.json").write_text(
        json.dumps({"step": 3, "alignment": alignment, "recipe": recipe})
    )
    return save_analyzer(folder / "run" / "ema")


def test_a_pack_cuts_the_crops_that_its_run_was_trained_on(tmp_path: Path) -> None:
    """A run on CelebA's alignment makes a pack of that alignment; what a person states goes before it."""
    checkpoint = _run_on("celeba", tmp_path)
    asked = replace(order(tmp_path), checkpoint=checkpoint)
    assert read_pack(export_checkpoint(asked, Stages())).analyzers[0].alignment == "celeba"
    stated = replace(asked, name="stated", alignment="arcface-5pt")
    assert read_pack(export_checkpoint(stated, Stages())).analyzers[0].alignment == "arcface-5pt"


def test_trainings_in_a_row_stand_in_the_pack_with_energy_and_curves(tmp_path: Path) -> None:
    """An earlier training comes first, with its role; each has its energy, and the last one's curves are drawn."""
    last, first = _run_on("arcface-5pt", tmp_path), _run_on("arcface-5pt", tmp_path / "before")
    log = "".join(json.dumps({"step": step, "steps_per_second": 0.5, "loss": 2.0}) + "\n" for step in (1, 2, 3))
    for checkpoint in (last, first):
        (checkpoint.parent / "log.jsonl").write_text(log)
    asked = replace(
        order(tmp_path),
        checkpoint=last,
        trained_on="two cores",
        earlier=(f"{first.parent}=its weights were the start",),
        teacher="a larger network's answers",
        power=Power({"analyzer": 3600.0}, 500.0),
    )
    folder = export_checkpoint(asked, Stages())
    pack = read_pack(folder)
    assert [(run.role, run.teacher) for run in pack.training] == [
        ("its weights were the start", None),
        (None, "a larger network's answers"),
    ]
    assert [run.energy_kwh for run in pack.training] == [pytest.approx(0.006)] * 2
    assert [run.carbon_kg_co2e for run in pack.training] == [pytest.approx(0.003)] * 2
    assert [picture.file for picture in pack.pictures] == ["card/training-analyzer.png"]
    card = (folder / "CARD.md").read_text()
    assert "- analyzer, earlier training (its weights were the start): 3 steps" in card
    assert "0.012 kWh and 6 g of CO2e" in card


def test_crops_that_no_service_cuts_must_be_named(tmp_path: Path) -> None:
    """A run on crops of no known alignment is refused until someone says which they are like."""
    asked = replace(order(tmp_path), checkpoint=_run_on("none", tmp_path))
    with pytest.raises(ExportError, match=r"alignment 'none', which no service cuts: state --alignment"):
        export_checkpoint(asked, Stages())
    assert read_pack(export_checkpoint(replace(asked, alignment="celeba"), Stages())).analyzers[0].alignment == "celeba"


def test_a_network_of_ordinal_age_is_exported(tmp_path: Path) -> None:
    """An age that counts ranks goes through the same export, and a rank at its border does not fail it."""
    network = MultiTaskNetwork(small_iresnet(task="age"))
    with torch.no_grad():
        for parameter in network.groups.parameters():
            parameter.zero_()  # every rank at its border: the worst case that there is
    save(tmp_path / "age", network.eval())
    folder = export_checkpoint(replace(order(tmp_path), checkpoint=tmp_path / "age"), Stages())
    assert read_pack(folder).tasks == ("age",)
