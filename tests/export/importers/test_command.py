"""`mien-export import`: what a person types, gets, and is told for a mistake."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from export.cli import main
from model.checkpoint import load_network
from model.config import NetworkConfig
from model.runtime.pack import read_pack
from tests.imported import face_analysis_parts, faer_checkpoint, filled, multi_task_checkpoint, run, save, write_config
from tests.model.networks import SMALL_FAER_ATTRIBUTES, SMALL_FAER_EXPRESSION, SMALL_SWINFACE, small_iresnet


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each system and the configurations of their reduced sizes."""
    folder = tmp_path_factory.mktemp("published")
    swinface = filled(SMALL_SWINFACE)
    parts = face_analysis_parts(filled(small_iresnet(task="age")))
    return {
        "swinface": save(folder / "swinface.pt", multi_task_checkpoint(swinface)),
        "tmlfa": save(folder / "tmlfa.pt", multi_task_checkpoint(swinface, is_tmlfa=True)),
        "attributes": save(folder / "attributes.pth", faer_checkpoint(filled(SMALL_FAER_ATTRIBUTES))),
        "expression": save(folder / "expression.pth", faer_checkpoint(filled(SMALL_FAER_EXPRESSION))),
        "trunk": save(folder / "trunk.pth", parts["model"]),
        "head": save(folder / "head.pth", parts["head"]),
        "swinface.json": write_config(folder / "swinface.json", SMALL_SWINFACE),
    }


def test_help_answers_without_torch() -> None:
    """`mien-export import` and its commands explain themselves without loading torch."""
    program = """
import sys
from export.cli import main
for words in (["import"], ["import", "swinface"], ["import", "face-analysis"], ["combine"]):
    try:
        main([*words, "--help"])
    except SystemExit:
        pass
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    for word in ("swinface", "tmlfa", "faer", "face-analysis", "--detector", "--license", "--photo", "False"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("command", "named", "complaint"),
    [
        ("swinface", ["expression"], "no SwinFace checkpoint; it looks like a FAER checkpoint"),
        ("swinface", ["tmlfa"], "no SwinFace checkpoint; it looks like a TMLFA checkpoint"),
        ("swinface", ["trunk"], "no SwinFace checkpoint; it looks like a trunk of face_analysis_pytorch"),
        ("tmlfa", ["swinface"], "no TMLFA checkpoint; it looks like a SwinFace checkpoint"),
        ("faer", ["swinface"], "no FAER checkpoint; it looks like a SwinFace checkpoint"),
        ("faer", ["expression", "head"], "no FAER checkpoint; it looks like a head of face_analysis_pytorch"),
        ("face-analysis", ["expression"], "neither a trunk nor a head of face_analysis_pytorch; it looks like a FAER"),
        ("face-analysis", ["head"], "a head without its trunk"),
        ("face-analysis", ["trunk"], "'body' has 3 units; published are 24 (depth 50), 49 (depth 100), 50 (depth 152)"),
        ("swinface", ["swinface"], "state_dict_backbone: 'layers."),
    ],
)
def test_another_systems_file_is_told_in_one_line(
    files: dict[str, Path], tmp_path: Path, command: str, named: list[str], complaint: str
) -> None:
    """A file of another system, or of another size, is one line that says what it looks like; nothing is written."""
    paths = [str(files[name]) for name in named]
    done = CliRunner().invoke(main, ["import", command, *paths, "--out", str(tmp_path / "out" / "mine")])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["swinface", "nowhere.pt", "--out", "x"], "cannot read nowhere.pt: No such file"),
        (["swinface", "nowhere.pt"], "Missing option '--out'"),
        (["swinface", "nowhere.pt", "--out", "a/.."], "--out '..': letters, digits"),
        (["swinface", "nowhere.pt", "--out", "x", "--config", "nowhere.json"], "cannot read nowhere.json"),
        (["faer", "--out", "x"], "Missing argument 'CHECKPOINT...'"),
        (["swinface", "a.pt", "b.pt", "--out", "x"], "unexpected extra argument"),
    ],
)
def test_a_mistake_is_one_line_and_a_failure(arguments: list[str], complaint: str) -> None:
    """A mistake ends with a non-zero code and its line on the error stream, without a traceback."""
    done = CliRunner().invoke(main, ["import", *arguments])
    assert done.exit_code != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.output


def test_a_configuration_that_is_none_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    """`--config` with a file that is no network's make-up is one line that names the field."""
    stated = json.loads(files["swinface.json"].read_text())
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text(json.dumps({**stated, "mood": 1}))
    words = ["import", "swinface", str(files["swinface"]), "--config", str(spoilt), "--out", str(tmp_path / "x")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert "spoilt.json: NetworkConfig has no field 'mood'" in done.stderr


def _without(key: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        del state[key]

    return change


def _with(key: str, *shape: int) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        state[key] = torch.zeros(shape)

    return change


@pytest.mark.parametrize(
    ("part", "change", "complaint"),
    [
        ("state_dict_om", _without("output_fcs.3.bias"), "state_dict_om: 'output_fcs.3.bias' is missing"),
        ("state_dict_tss", _with("nets.0.extra", 3), "state_dict_tss: 'nets.0.extra' is not expected"),
        (
            "state_dict_om",
            _with("output_fcs.0.weight", 3, 16),
            "'output_fcs.0.weight' has the shape (3, 16), not (2, 16)",
        ),
        ("state_dict_backbone", _with("norm.weight", 5), "state_dict_backbone: 'norm.weight' has the shape (5,)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    tmp_path: Path,
    files: dict[str, Path],
    part: str,
    change: Callable[[dict[str, torch.Tensor]], None],
    complaint: str,
) -> None:
    """A missing, an extra and a misshapen tensor are each named in one line with the file, and nothing is written."""
    content = multi_task_checkpoint(filled(SMALL_SWINFACE))
    state = content[part]
    assert isinstance(state, dict)
    change(state)
    path = save(tmp_path / "spoilt.pt", content)
    words = ["import", "swinface", str(path), "--config", str(files["swinface.json"]), "--out", str(tmp_path / "out/x")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert "spoilt.pt" in done.stderr
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_part_is_named(tmp_path: Path, files: dict[str, Path]) -> None:
    """A checkpoint without one of its four state dicts is refused by that part's name."""
    content = multi_task_checkpoint(filled(SMALL_SWINFACE))
    del content["state_dict_tss"]
    path = save(tmp_path / "partial.pt", content)
    words = ["import", "swinface", str(path), "--config", str(files["swinface.json"]), "--out", str(tmp_path / "x")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert "partial.pt: state_dict_tss is missing" in done.stderr


def test_a_pretrainings_backbone_recognises(tmp_path: Path, files: dict[str, Path]) -> None:
    """A checkpoint with the backbone alone, its keys under `module.` and in half precision, gives embeddings alone."""
    backbone = multi_task_checkpoint(filled(SMALL_SWINFACE))["state_dict_backbone"]
    assert isinstance(backbone, dict)
    halves = {
        f"module.{key}": value.half() if value.is_floating_point() else value
        for key, value in backbone.items()
        if not key.endswith(("attn_mask", "relative_position_index"))
    }
    path = save(tmp_path / "pretrained.pt", {"epoch": 39, "state_dict_backbone": halves})
    out = tmp_path / "packs" / "recognition"
    options = ["--license", "LicenseRef-Mine", "--version", "2.1", "--detector", "nano"]
    printed = run("import", "swinface", path, "--config", files["swinface.json"], "--out", out, *options)
    pack = read_pack(out)
    assert f"mien serve --pack {out}" in printed
    assert pack.tasks == ("embedding",)
    assert (pack.license, pack.version) == ("LicenseRef-Mine", "2.1")
    assert pack.allowed_use.startswith("As the licence says.")
    origin = pack.analyzers[0].origin
    assert origin is not None
    assert "it holds the backbone alone" in origin


def test_a_photograph_can_be_named_to_compare_on(tmp_path: Path, files: dict[str, Path], astronaut_path: Path) -> None:
    """`--photo` compares on its faces alone, `--allowed-use` replaces that sentence, `--keep` keeps the network."""
    out = tmp_path / "expression"
    config = write_config(tmp_path / "expression.json", SMALL_FAER_EXPRESSION)
    kept = tmp_path / "kept"
    options = ["--config", config, "--photo", astronaut_path, "--allowed-use", "Ask me.", "--keep", kept]
    printed = run("import", "faer", files["expression"], *options, "--expressions", "raf-db", "--out", out)
    pack = read_pack(out)
    assert f"{kept}: the network, to train on from by --init" in printed
    expected = filled(SMALL_FAER_EXPRESSION).state_dict()
    assert all(torch.equal(expected[name], value) for name, value in load_network(kept).state_dict().items())
    assert "on 1 real crops of astronaut.png" in pack.exported_with["compared faer-expression.onnx"]
    assert pack.license == "LicenseRef-Not-Stated"
    assert pack.allowed_use.startswith("Ask me.")


def test_two_networks_of_one_task_are_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    """The same FAER network twice would answer one task twice: refused before anything is traced."""
    config = write_config(tmp_path / "c.json", SMALL_FAER_EXPRESSION)
    words = ["import", "faer", *[str(files["expression"])] * 2, *["--config", str(config)] * 2]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out" / "x")])
    assert done.exit_code == 1
    assert "expression is answered by faer-expression and by faer-expression, and a pack answers it once" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_not_kept_over_something_else(tmp_path: Path, files: dict[str, Path]) -> None:
    """`--keep` with a folder that holds no checkpoint is refused before any work is done."""
    (tmp_path / "chapter1.txt").write_text("years of work")
    config = write_config(tmp_path / "c.json", SMALL_FAER_EXPRESSION)
    words = ["import", "faer", str(files["expression"]), "--config", str(config), "--keep", str(tmp_path)]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out" / "x")])
    assert done.exit_code == 1
    assert "is there and is no checkpoint, so it is not replaced by one" in done.stderr
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "chapter1.txt").exists()


def test_a_folder_that_is_no_pack_is_kept(tmp_path: Path, files: dict[str, Path]) -> None:
    """A folder with something else in it is not replaced, unless `--force` says so."""
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    config = write_config(tmp_path / "c.json", SMALL_FAER_EXPRESSION)
    words = ["import", "faer", str(files["expression"]), "--config", str(config), "--out", str(out)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert "is there and is no readable pack; --force replaces it" in done.stderr
    assert (out / "chapter1.txt").read_text() == "years of work"
    assert NetworkConfig.from_json(config.read_text()) == SMALL_FAER_EXPRESSION
