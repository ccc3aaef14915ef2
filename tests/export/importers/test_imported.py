"""Imported packs: they answer what the published networks answer, in every pack's order, and say whose they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export.card import render
from export.check import compare, predict_by
from export.importers.networks import PublishedNetwork, to_analyzer
from export.pack_check import check_pack
from export.precision import embedding_space
from model.analyzer import Analyzer, normalise
from model.config import FusionConfig
from model.network import MultiTaskNetwork
from model.runtime.known_answer import known_crops
from model.runtime.labels import ATTRIBUTES, Task
from model.runtime.pack import PACKS_DIR, AnalyzerPart, read_pack
from model.runtime.session import open_session
from tests.imported import Imported, filled, multi_task_checkpoint, run, save, write_config
from tests.model.networks import SMALL_SWINFACE

SMALL = ("small_swinface", "small_tmlfa", "small_faer", "small_face_analysis")
# SwinFace's output layers, 0 to 41, as its published code defines them group by group.
PUBLISHED_ORDER = (
    *("gender", "age", "young", "expression", "smiling"),
    *("attractive", "blurry", "chubby", "heavy_makeup", "oval_face", "pale_skin"),
    *("bald", "bangs", "black_hair", "blond_hair", "brown_hair", "gray_hair", "receding_hairline", "straight_hair"),
    *("wavy_hair", "wearing_hat"),
    *("arched_eyebrows", "bags_under_eyes", "bushy_eyebrows", "eyeglasses", "narrow_eyes", "big_nose", "pointy_nose"),
    *("high_cheekbones", "rosy_cheeks", "wearing_earrings", "sideburns"),
    *("5_o_clock_shadow", "big_lips", "mouth_slightly_open", "mustache", "wearing_lipstick", "no_beard"),
    *("double_chin", "goatee", "wearing_necklace", "wearing_necktie"),
)
# Seconds: the first test that asks for one imports it, which a busy core may take minutes for.
FULL = [
    pytest.param(name, marks=pytest.mark.timeout(900)) for name in ("full_swinface", "full_faer", "full_face_analysis")
]


def noise(side_px: int, num: int = 5) -> NDArray[np.uint8]:
    """Crops that the import never saw, of several contrasts."""
    drawn = np.random.default_rng(11).integers(0, 256, (num, side_px, side_px, 3))
    return (drawn // np.arange(1, num + 1)[:, None, None, None]).astype(np.uint8)


def answers(imported: Imported, part: AnalyzerPart, images: NDArray[np.uint8]) -> dict[Task, NDArray[np.float32]]:
    """What one graph of the pack answers."""
    return dict(predict_by(open_session(imported.folder / part.file))(images))


def clear_of_borders(network: MultiTaskNetwork, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which images' ordinal age rests on no logit near 0."""
    with torch.no_grad():
        logits = network(normalise(torch.from_numpy(images), network.config.pixels))["age"]
    return np.asarray((logits.abs() > 1e-4).all(1).numpy())


@pytest.mark.parametrize("fixture", [*SMALL, *FULL])
def test_a_pack_answers_what_its_networks_answer(fixture: str, request: pytest.FixtureRequest) -> None:
    """On crops that were never compared each graph answers its network's numbers to 1e-3 (age: 5e-3 years)."""
    imported: Imported = request.getfixturevalue(fixture)
    parts = read_pack(imported.folder).analyzers
    assert len(parts) == len(imported.networks)
    for part, network in zip(parts, imported.networks, strict=True):
        images = noise(part.side_px)
        with torch.no_grad():
            expected = {task: value.numpy() for task, value in Analyzer(network)(torch.from_numpy(images)).items()}
        found = answers(imported, part, images)
        assert tuple(found) == part.tasks == tuple(expected)
        for task in part.tasks:
            clear = np.ones(len(images), bool)
            if network.config.age_form == "ordinal" and task == "age":
                clear = clear_of_borders(network, images)
            tolerance = 5e-3 if task == "age" else 1e-3
            np.testing.assert_allclose(found[task][clear], expected[task][clear], atol=tolerance, err_msg=task)


@pytest.mark.parametrize("fixture", SMALL)
def test_a_pack_passes_its_check_without_its_networks(fixture: str, request: pytest.FixtureRequest) -> None:
    """Hashes, signatures, known answers and batch independence hold; no copy of the weights is in the pack."""
    imported: Imported = request.getfixturevalue(fixture)
    findings = {finding.what: finding.result for finding in check_pack(imported.folder)}
    assert findings["graph and stored network"].startswith("not compared: the pack holds no checkpoint")
    files = {str(path.relative_to(imported.folder)) for path in imported.folder.rglob("*") if path.is_file()}
    assert files == {"pack.json", "CARD.md", *(entry.file for entry in read_pack(imported.folder).files())}
    assert {name.split("/")[0] for name in files if "/" in name} == {"detector"}


@pytest.mark.parametrize(
    ("fixture", "tasks", "sides", "alignments"),
    [
        ("small_swinface", [("embedding", "expression", "age", "gender", "attributes")], {56}, {"arcface-5pt"}),
        ("small_tmlfa", [("embedding", "expression", "age", "gender", "attributes")], {56}, {"arcface-5pt"}),
        ("small_faer", [("attributes",), ("expression",)], {64}, {"celeba"}),
        ("small_face_analysis", [("embedding",), ("age",), ("gender",), ("race",)], {32}, {"arcface-5pt"}),
        ("full_swinface", [("embedding", "expression", "age", "gender", "attributes")], {112}, {"arcface-5pt"}),
        ("full_faer", [("attributes",)], {224}, {"celeba"}),
        ("full_face_analysis", [("age",)], {112}, {"arcface-5pt"}),
    ],
)
def test_each_analyzer_has_its_own_side_alignment_and_tasks(
    fixture: str, tasks: list[tuple[Task, ...]], sides: set[int], alignments: set[str], request: pytest.FixtureRequest
) -> None:
    """Tasks, side, alignment, operator set and labels are each analyzer's; only an embedding has a length."""
    parts = read_pack(request.getfixturevalue(fixture).folder).analyzers
    assert [part.tasks for part in parts] == tasks
    assert ({part.side_px for part in parts}, {part.alignment for part in parts}) == (sides, alignments)
    for part in parts:
        assert part.opset == 20
        assert ("embedding" in part.tasks) == (part.embedding_dim is not None)
        assert set(part.labels) == set(part.tasks) - {"embedding", "age"}


@pytest.mark.parametrize("fixture", ["small_swinface", "small_tmlfa", "full_swinface"])
def test_male_is_genders_answer(fixture: str, request: pytest.FixtureRequest) -> None:
    """In CelebA's order the column `male` of SwinFace and TMLFA is their gender's probability of male."""
    imported: Imported = request.getfixturevalue(fixture)
    (part,) = read_pack(imported.folder).analyzers
    found = answers(imported, part, noise(part.side_px))
    assert part.labels["attributes"] == ATTRIBUTES
    male = found["attributes"][:, ATTRIBUTES.index("male")]
    np.testing.assert_allclose(male, found["gender"][:, 1], atol=1e-6)
    assert np.ptp(male) > 0


def test_each_published_output_layer_answers_in_its_celeba_column(tmp_path: Path) -> None:
    """Output layer k of a checkpoint answers in the column of the attribute that SwinFace publishes as its k-th."""
    content = multi_task_checkpoint(filled(SMALL_SWINFACE))
    layers = content["state_dict_om"]
    assert isinstance(layers, dict)
    for k in range(len(PUBLISHED_ORDER)):
        layers[f"output_fcs.{k}.weight"] = torch.zeros_like(layers[f"output_fcs.{k}.weight"])
        if PUBLISHED_ORDER[k] not in ("age", "expression"):
            layers[f"output_fcs.{k}.bias"] = torch.tensor([0.0, 0.1 * (k + 1)])
    config = write_config(tmp_path / "config.json", SMALL_SWINFACE)
    checkpoint = save(tmp_path / "checkpoint.pt", content)
    run("import", "swinface", checkpoint, "--config", config, "--out", tmp_path / "ordered")
    (found,) = predict_by(open_session(tmp_path / "ordered" / "swinface.onnx"))(noise(56, 1))["attributes"]
    for column, name in enumerate(ATTRIBUTES):
        k = PUBLISHED_ORDER.index("gender" if name == "male" else name)
        assert found[column] == pytest.approx(1 / (1 + np.exp(-0.1 * (k + 1))), abs=1e-6), name


@pytest.mark.parametrize("fixture", [*SMALL, *FULL])
def test_weights_are_kept_in_single_precision(fixture: str, request: pytest.FixtureRequest) -> None:
    """No matrix is rounded: the graph holds the checkpoint's own float32 numbers."""
    imported: Imported = request.getfixturevalue(fixture)
    for part, network in zip(read_pack(imported.folder).analyzers, imported.networks, strict=True):
        model = onnx.load(imported.folder / part.file)
        stored = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
        halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
        assert not halves & {f"network.{name}.half" for name, _ in network.named_parameters()}
        assert stored >= 0.95 * sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    "fusion",
    [
        FusionConfig(
            widths=(12,),
            reduction=4,
            mode="normal",
            shared=True,
            spatial_attention="cbam",
            pool="average",
            features="local",
        ),
        FusionConfig(
            widths=(6,), channel_attention=False, spatial_attention="lanet", lanet_branches=(2,), features="global"
        ),
    ],
)
def test_a_published_variant_is_traced_with_every_batch_size(fusion: FusionConfig) -> None:
    """Normal, shared, CBAM, LANet, local and global variants answer in the graph what they answer in the network."""
    config = replace(SMALL_SWINFACE, fusion=fusion)
    network = filled(config)
    analyzer = to_analyzer(PublishedNetwork("variant", config, network.state_dict(), "a variant"))
    assert analyzer.network is not None
    check = compare(open_session(analyzer.graph), analyzer.network, noise(56), 56)
    assert set(check.worst) == set(config.tasks)


@pytest.mark.parametrize("fixture", ["small_swinface", "small_face_analysis"])
def test_the_embedding_space_is_the_networks(fixture: str, request: pytest.FixtureRequest) -> None:
    """Embeddings are named by the weights that make them, so that no other network's are compared with them."""
    imported: Imported = request.getfixturevalue(fixture)
    assert read_pack(imported.folder).embedding_space == embedding_space(imported.networks[0].state_dict())


def test_without_embeddings_there_is_no_space(small_faer: Imported) -> None:
    """A pack without an embedding names no space and has no thresholds to calibrate."""
    pack = read_pack(small_faer.folder)
    assert (pack.embedding_space, pack.verification) == (None, None)


@pytest.mark.parametrize("fixture", ["small_face_analysis", "full_face_analysis"])
def test_the_known_answer_of_an_ordinal_age_stands_at_no_border(fixture: str, request: pytest.FixtureRequest) -> None:
    """The known crop of an ordinal age is one whose every logit is clear of 0, so that no processor rounds it over."""
    imported: Imported = request.getfixturevalue(fixture)
    pairs = zip(read_pack(imported.folder).analyzers, imported.networks, strict=True)
    part, network = next((part, network) for part, network in pairs if part.tasks == ("age",))
    crop = known_crops(part.known_answer.seed, part.side_px)
    with torch.no_grad():
        logits = network(normalise(torch.from_numpy(crop)))["age"]
    assert float(logits.abs().min()) > 2e-4
    (age,) = part.known_answer.outputs["age"]
    assert age == int((logits > 0).sum())


@pytest.mark.parametrize(
    ("fixture", "license_text", "words"),
    [
        ("small_swinface", "LicenseRef-NonCommercial-Research", ("under the MIT licence", "MS1MV2", "SwinFace (arXiv")),
        ("small_tmlfa", "LicenseRef-Not-Stated", ("names no licence", "MS-Celeb-1M", "TMLFA")),
        ("small_faer", "LicenseRef-Not-Stated", ("names no licence", "AffectNet", "FAER")),
        (
            "small_face_analysis",
            "LicenseRef-NonCommercial-Research",
            ("under the MIT licence", "face_analysis_pytorch"),
        ),
    ],
)
def test_terms_and_origin_are_stated(
    fixture: str, license_text: str, words: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Licence and use are those known of the system; the card says whose weights, of which file, compared how."""
    folder = request.getfixturevalue(fixture).folder
    pack = read_pack(folder)
    card = (folder / "CARD.md").read_text()
    assert card == render(pack)
    assert pack.license == license_text
    for word in words:
        assert word in card, word
    for part in pack.analyzers:
        assert part.origin is not None
        assert "SHA-256" in part.origin
        assert f"- `{part.file}`: {part.origin}" in card
        compared = pack.exported_with[f"compared {part.file}"]
        assert "batch sizes 1, 2, 3, 5, 16 on 7 real crops of t1.jpg, astronaut.png" in compared
    assert "no record of the training lay beside the weights, so none is stated." in card
    assert "compares these weights" not in card


def test_the_shipped_detector_goes_along_with_what_is_known_of_it(small_swinface: Imported) -> None:
    """By default the detector is the shipped pack's: its bytes, settings, training, data, figures and terms."""
    pack, shipped = read_pack(small_swinface.folder), read_pack(PACKS_DIR / "nano")
    assert pack.detector == shipped.detector
    assert pack.training == tuple(run for run in shipped.training if run.part == "detector")
    assert [entry.name for entry in pack.training_data] == ["detection"]
    assert pack.measured == tuple(figure for figure in shipped.measured if figure.task == "detection")
    assert {entry.file.split("/")[0] for entry in pack.checkpoints} == {"detector"}
    assert pack.allowed_use.endswith(f"The detector is of the pack nano: {shipped.license}.")


def test_the_manifest_is_json_that_names_the_command(small_swinface: Imported) -> None:
    """The command that made the pack and the versions behind it stand in the manifest."""
    stated = json.loads((small_swinface.folder / "pack.json").read_text())["exported_with"]
    assert {"command", "mien", "torch", "timm", "onnx", "onnxruntime"} <= set(stated)
