"""The built wheel, installed in an empty environment outside the repository: it serves, and there is no torch in it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.house import tree
from tests.house.wheel import build_wheel

pytestmark = pytest.mark.timeout(600)  # the first test makes the environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from tracked files."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the serving install, and insightface's files for their photograph."""
    env = tmp_path_factory.mktemp("serving")
    venv.create(env, with_pip=True)
    python = env / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True)
    subprocess.run([*pip, "--no-deps", "insightface>=2.1,<3"], check=True)
    return python


@pytest.fixture(scope="module")
def service(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mien serve`, started from the wheel in an empty folder; SIGTERM must end it in order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    process = subprocess.Popen([python.parent / "mien", "serve", "--port", port], cwd=tmp_path_factory.mktemp("cwd"))
    address = f"http://127.0.0.1:{port}"
    while not _is_ready(address):
        assert _status_within(0.1, process) is None, "mien serve ended before it was ready"
    yield address
    process.send_signal(signal.SIGTERM)
    assert _status_within(60, process) == 0


def test_the_wheel_holds_the_pack_and_the_page(wheel: Path) -> None:
    """Every tracked file of the shipped packs and of the page is in the wheel, and no test is."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    needed = {str(name) for name in tree.files() if str(name).startswith(("model/packs/", "service/page/"))}
    assert {"model/packs/nano/pack.json", "service/page/index.html", "service/py.typed"} <= needed | packed
    assert needed - packed == set()
    assert {name.split("/")[0] for name in packed if ".dist-info" not in name} == set(tree.PACKAGES)


def test_the_serving_install_has_nothing_of_training(python: Path) -> None:
    """The serving install has neither torch nor timm nor pyarrow, and its only cv2 is the headless one."""
    code = """if True:
        import importlib.metadata as metadata, json
        names = sorted(each.name.lower() for each in metadata.distributions())
        print(json.dumps([names, sorted(set(metadata.packages_distributions()["cv2"]))]))"""
    names, cv2 = json.loads(_run(python, "-c", code))
    assert "mien" in names
    assert {"torch", "torchvision", "timm", "pyarrow", "onnx", "matplotlib"} & set(names) == set()
    assert cv2 == ["opencv-python-headless"]


@pytest.mark.parametrize("module", ["service.app", "service.serve_command", "service.photo_commands"])
def test_the_service_imports_without_torch(python: Path, module: str) -> None:
    """The service imports where there is no torch, from the installed wheel and not from the repository."""
    out = _run(python, "-c", f"import sys, {module}; print('torch' in sys.modules, {module}.__file__)")
    loaded, path = out.split()
    assert loaded == "False"
    assert Path(path).is_relative_to(python.parents[1])


@pytest.mark.parametrize("command", ["mien-train", "mien-export"])
def test_commands_that_need_more_say_what_to_install(python: Path, command: str) -> None:
    """Training and exporting without their extra end with one clear line, not with a traceback."""
    done = subprocess.run([python.parent / command, "--help"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "mien[train]" in done.stderr


def test_tables_need_their_extra_and_all_else_does_not(python: Path, tmp_path: Path, six_faces_path: Path) -> None:
    """In the serving install a .parquet ends with one line that says what to install, and a .csv has its six rows."""
    command = [str(python.parent / "mien"), "extract", str(six_faces_path), "--out"]
    refused = subprocess.run([*command, "faces.parquet"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert 'pip install "mien[tables]"' in line
    subprocess.run([*command, "faces.csv"], cwd=tmp_path, capture_output=True, check=True)
    assert len((tmp_path / "faces.csv").read_text().splitlines()) == 7


def test_the_wheel_serves_its_pack_and_its_page(service: str, six_faces: bytes) -> None:
    """`mien serve` out of the wheel has the pack, the page and the offline reference, and analyses a photograph."""
    with httpx.Client(base_url=service, timeout=60) as client:
        assert client.get("/model").json()["name"] == "nano"
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "Drop a photograph" in page.text
        assert client.get("/page/page.js").status_code == 200
        assert client.get("/docs").status_code == 200
        (image,) = client.post("/analyze", files={"files": ("t1.jpg", six_faces)}).json()["images"]
    assert len(image["faces"]) == 6


def test_the_wheel_runs_the_demo(python: Path, tmp_path: Path) -> None:
    """The demo runs out of the wheel: six faces on the bundled photograph, and it stops its service again."""
    out = _run(python, "-m", "service.demo", cwd=tmp_path)
    assert out.splitlines()[0] == "6 faces in t1.jpg"


def _run(python: Path, *arguments: str, cwd: Path = Path("/")) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MIEN_"))}
    done = subprocess.run([python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _status_within(seconds: float, process: "subprocess.Popen[bytes]") -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None
