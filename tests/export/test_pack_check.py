"""The check of a finished pack: what passes, and that each kind of damage is found."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from export.errors import ExportError
from export.pack_check import check_pack
from model.checkpoint import CONFIG, WEIGHTS, load_tensors, save_tensors
from model.runtime.pack import MANIFEST, PackError, read_pack, sha256_of, verify_pack


def restate(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrites the manifest with a change, and with the hashes of the files as they are now."""
    stated = json.loads((folder / MANIFEST).read_text())
    for entry in (stated["detector"], *stated["analyzers"], *stated["checkpoints"]):
        entry["sha256"] = sha256_of(folder / entry["file"])
    change(stated)
    (folder / MANIFEST).write_text(json.dumps(stated))


def nothing(stated: dict[str, Any]) -> None:
    """No change but the hashes."""


def test_a_whole_pack_passes(made_pack: Path) -> None:
    """A pack as it was exported passes, its stored network compared."""
    findings = {finding.what: finding.result for finding in check_pack(made_pack)}
    assert findings["manifest and hashes"] == "6 files"
    assert findings["graph and stored network"].startswith("agree at batch sizes 1, 2, 3, 5, 16")
    assert "analyzer.onnx: known answer" in findings


def test_a_pack_reads_back_and_verifies(made_pack: Path) -> None:
    """The runtime reads the pack and verifies every hash, checkpoints included."""
    pack = read_pack(made_pack)
    verify_pack(made_pack, pack, checkpoints=True)
    assert (pack.name, pack.version, pack.license) == ("tiny", "1.2.3", "MIT")
    assert pack.tasks == ("embedding", "expression", "age", "gender", "attributes", "race")
    assert pack.analyzers[0].embedding_dim == 32
    assert pack.detector.min_score == 0.75
    assert pack.detector.nms_iou == 0.35


@pytest.mark.parametrize(
    "file", ["analyzer.onnx", "detector.onnx", "analyzer/weights.safetensors", "detector/config.json"]
)
def test_one_changed_byte_is_found(own_pack: Path, file: str) -> None:
    """A single changed byte in any file is found, and the file named."""
    data = bytearray((own_pack / file).read_bytes())
    data[len(data) // 2] ^= 1
    (own_pack / file).write_bytes(bytes(data))
    with pytest.raises(PackError, match=file):
        verify_pack(own_pack, read_pack(own_pack), checkpoints=True)
    with pytest.raises(ExportError, match=rf"{file}: its SHA-256 is not"):
        check_pack(own_pack)


def test_a_missing_card_is_found(own_pack: Path) -> None:
    """A pack without its card for people does not pass."""
    (own_pack / "CARD.md").unlink()
    with pytest.raises(ExportError, match="a pack has a card for people"):
        check_pack(own_pack)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda part: part.update(opset=17), "its operator set is 20, and the pack states 17"),
        (lambda part: part.update(side_px=96), r"its input is images tensor\(uint8\) \(N, 112, 112, 3\), not"),
        (lambda part: part.update(embedding_dim=64), r"its output embedding is .*\(N, 32\), not .*\(N, 64\)"),
        (lambda part: part["labels"]["gender"].reverse(), "the labels of gender are not in the order"),
        (lambda part: part["labels"].pop("race"), "the labels of race are not in the order"),
        (lambda part: part["known_answer"]["outputs"]["age"].__setitem__(0, 99.0), "age differs from the known answer"),
    ],
)
def test_a_statement_that_the_graph_does_not_keep_is_found(
    own_pack: Path, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    """Operator set, input, outputs, labels and known answer are held against the graph itself."""
    restate(own_pack, lambda stated: change(stated["analyzers"][0]))
    with pytest.raises(ExportError, match=complaint):
        check_pack(own_pack)


def test_an_output_that_is_stated_and_missing_is_named(own_pack: Path) -> None:
    """A task that the manifest names and the graph does not answer is named."""
    model = onnx.load(own_pack / "analyzer.onnx")
    kept = [output for output in model.graph.output if output.name != "age"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, own_pack / "analyzer.onnx")
    restate(own_pack, nothing)
    with pytest.raises(ExportError, match="its output age is missing"):
        check_pack(own_pack)


def test_a_graph_that_is_not_the_stored_networks_is_found(own_pack: Path) -> None:
    """A checkpoint of other weights than the graph's is found, first by its embedding space and then by its answers."""
    tensors = load_tensors(own_pack / "analyzer" / WEIGHTS)
    name = "recognition.feature.0.weight"
    tensors[name] = tensors[name].flip(0)
    save_tensors(own_pack / "analyzer" / WEIGHTS, tensors)
    restate(own_pack, nothing)
    with pytest.raises(ExportError, match=r"embedding_space is \w+, and the stored weights' is"):
        check_pack(own_pack)
    restate(own_pack, lambda stated: stated.update(embedding_space=None))
    with pytest.raises(ExportError, match="embedding: the graph differs from the network"):
        check_pack(own_pack)


def test_a_stored_network_of_another_make_is_found(own_pack: Path) -> None:
    """A checkpoint whose configuration is broken is one clear line."""
    (own_pack / "analyzer" / CONFIG).write_text("{}")
    restate(own_pack, nothing)
    with pytest.raises(ExportError, match=r"config\.json"):
        check_pack(own_pack)


def test_a_detector_that_sees_faces_on_a_blank_picture_is_found(own_pack: Path) -> None:
    """A detector that finds faces on black and white pictures does not pass."""
    restate(own_pack, lambda stated: stated["detector"].update(min_score=1e-6))
    with pytest.raises(ExportError, match="faces on a black and a white picture"):
        check_pack(own_pack)


def test_a_detector_that_is_none_is_found(own_pack: Path) -> None:
    """A detector file that is not in SCRFD's format does not pass."""
    shutil.copyfile(own_pack / "analyzer.onnx", own_pack / "detector.onnx")
    restate(own_pack, nothing)
    with pytest.raises(ExportError, match=r"detector\.onnx: .* outputs"):
        check_pack(own_pack)


def test_a_graph_that_reads_channels_in_another_order_is_found_by_its_known_answer(own_pack: Path) -> None:
    """A first kernel that takes BGR for RGB, under a renewed hash, is found by the known answer."""
    model = onnx.load(own_pack / "analyzer.onnx")
    (kernel,) = (
        tensor
        for tensor in model.graph.initializer
        if tensor.name.startswith("network.backbone.patch_embed.proj.weight")
    )
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, ::-1].copy(), kernel.name))
    onnx.save(model, own_pack / "analyzer.onnx")
    restate(own_pack, nothing)
    with pytest.raises(ExportError, match="differs from the known answer"):
        check_pack(own_pack)


def test_a_pack_is_checked_without_torch(made_pack: Path) -> None:
    """Where torch is not installed everything else is checked, and the finding says what was not."""
    assert importlib.util.find_spec("torch") is not None
    program = (
        "import importlib.util, sys; from pathlib import Path; found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else found(name, *rest)\n"
        "from export.pack_check import check_pack\n"
        "print(check_pack(Path(sys.argv[1]))[-1].result, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(made_pack)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "not compared: torch is not installed here False"
