"""What contains the service: Dockerfiles, the compose file, and the recipe that leaves a GPU image one onnxruntime."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

import pytest

from tests.house import tree
from tests.house.wheel import build_wheel

BIN: Final = Path(sys.executable).parent
DOCKERFILES: Final = (Path("Dockerfile"), Path("docker/Dockerfile.gpu"))


@pytest.mark.parametrize("name", DOCKERFILES, ids=str)
def test_dockerfiles_pass_hadolint(name: Path) -> None:
    """hadolint finds nothing in either Dockerfile."""
    done = subprocess.run([BIN / "hadolint", tree.PROJECT / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES, ids=str)
def test_images_run_as_nobody_special_from_pinned_bases(name: Path) -> None:
    """Each image runs as user 10001, from a base with a full version, is probed at /livez and stopped by SIGTERM."""
    lines = tree.text(name).splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM") and ":" in line.split()[1]]
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert "STOPSIGNAL SIGTERM" in lines
    assert "EXPOSE 8000" in lines
    assert "/livez" in tree.text(name).split("HEALTHCHECK")[1]


@pytest.mark.parametrize("name", DOCKERFILES, ids=str)
def test_images_grant_nobody_access_by_default(name: Path) -> None:
    """No image sets keys or allows anonymous callers: who runs it says which."""
    set_lines = [line for line in tree.text(name).splitlines() if not line.startswith("#")]
    assert not re.search(r"MIEN_API_KEYS|MIEN_ALLOW_ANONYMOUS", "\n".join(set_lines))


def test_the_compose_file_fits_the_compose_schema() -> None:
    """docker-compose.yml fits the compose specification's schema."""
    schema = ("--builtin-schema", "vendor.compose-spec")
    command = [str(BIN / "check-jsonschema"), *schema, str(tree.PROJECT / "docker-compose.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_images_are_built_from_the_distribution_alone() -> None:
    """The build context holds what the wheel is made from, and neither data, runs, tests nor git's history."""
    kept = {line[1:] for line in tree.text(Path(".dockerignore")).splitlines() if line.startswith("!")}
    assert "*" in tree.text(Path(".dockerignore")).splitlines()
    assert kept == {"pyproject.toml", "README.md", "LICENSE", *tree.PACKAGES, "docker/install-gpu.sh"}


@pytest.mark.timeout(600)
def test_the_gpu_recipe_ends_with_one_onnxruntime(tmp_path: Path) -> None:
    """After docker/install-gpu.sh only onnxruntime-gpu provides onnxruntime, whole, with its CUDA library."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(
        ["bash", tree.PROJECT / "docker" / "install-gpu.sh", build_wheel(tmp_path)],
        env={**os.environ, "PYTHON": str(python)},
        check=True,
    )
    code = """if True:
        import importlib.metadata as metadata, json, onnxruntime
        files = metadata.files("onnxruntime-gpu")
        print(json.dumps({
            "distributions": sorted(set(metadata.packages_distributions()["onnxruntime"])),
            "missing": [str(file) for file in files if not file.locate().exists()],
            "cuda": any(file.name == "libonnxruntime_providers_cuda.so" for file in files),
            "providers": onnxruntime.get_available_providers(),
        }))"""
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["distributions"] == ["onnxruntime-gpu"]
    assert found["missing"] == []
    assert found["cuda"]
    assert {"CUDAExecutionProvider", "CPUExecutionProvider"} <= set(found["providers"])
