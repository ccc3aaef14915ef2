"""Imports run one way, and the service starts without what only training needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

TRAINING_ONLY = (
    "torch",
    "torchvision",
    "timm",
    "pyarrow",
    "onnx",
    "onnxscript",
    "matplotlib",
    "tensorboard",
    "insightface",
)


def test_import_contracts_hold() -> None:
    """Every import contract of pyproject.toml is kept."""
    done = _lint_imports(tree.PROJECT)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("service/imaging.py", "import model.network", "service imports only model.runtime"),
        ("model/runtime/alignment.py", "import torch", "model.runtime imports neither torch"),
        ("model/network.py", "import model.training.loop", "training stands on the networks"),
        ("model/network.py", "import service.errors", "service and export stand on model"),
        ("export/graph.py", "import service.errors", "service and export stand on model"),
        ("service/imaging.py", "import onnxruntime", "onnxruntime has one door"),
        ("export/check.py", "import onnxruntime", "onnxruntime has one door"),
        ("service/imaging.py", "import prometheus_client", "prometheus_client has one door"),
        ("service/errors.py", "import service.imaging", "service is layered"),
        ("service/photos.py", "import pyarrow", "service imports only model.runtime"),
        ("service/routes/analyze.py", "import service.tables", "service is layered"),
    ],
)
def test_a_breach_of_an_import_contract_is_seen(tmp_path: Path, module: str, line: str, broken: str) -> None:
    """An import that runs against the design breaks the contract that forbids it."""
    for name in (*tree.python_files(*tree.PACKAGES), Path("pyproject.toml")):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree.PROJECT / name, target)
    breached = tmp_path / module
    breached.write_text(f"{breached.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = _lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    verdicts = [line for line in done.stdout.splitlines() if line.startswith(broken)]
    assert [" BROKEN" in line for line in verdicts[:1]] == [True], done.stdout


COMMANDS = (
    "service.bench.command",
    "service.extract.command",
    "service.match.command",
    "service.pack_command",
    "service.photo_commands",
    "service.serve_command",
)


@pytest.mark.parametrize("module", ["service.app", *COMMANDS, "model.runtime.detection"])
def test_the_service_starts_without_training_packages(module: str) -> None:
    """Importing the service loads neither torch nor anything that only training needs, even where it is there."""
    assert set(TRAINING_ONLY) & _loaded_by(f"import {module}") == set()


def test_serving_loads_no_other_command() -> None:
    """What `mien serve` imports before it is ready holds no other command, nor what they print with."""
    loaded = _loaded_by("from service.cli import main; main.get_command(None, 'serve')")
    assert "service.serve_command" in loaded
    assert (set(COMMANDS) - {"service.serve_command"} | {"rich", "service.client", "service.drawing"}) & loaded == set()


def _loaded_by(code: str) -> set[str]:
    """Modules that an interpreter has loaded after some lines."""
    code += "; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree.PROJECT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # The packages that are checked are those in the folder, wherever the project itself is installed.
    code = (
        "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},  # or a contract's name and its verdict stand on two lines
        capture_output=True,
        text=True,
        check=False,
    )
