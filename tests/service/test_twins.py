"""Twins in service, int8 and float16: which graph runs by which setting, and that every answer says so.

The tiny pack's twin is a graph of the same make that sees two per cent more light, so that its answers tell it apart.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from model.runtime.detection import Detector
from model.runtime.known_answer import known_answer, known_crops
from model.runtime.pack import read_pack, sha256_of
from model.runtime.part import KnownAnswer
from model.runtime.session import Device, open_session
from model.runtime.twin_part import HalfComparison, HalfPart, TwinComparison, TwinPart, TwinSpeed
from model.runtime.twins import with_twins
from service.cli import main
from service.errors import StartupError
from service.onnx_engine import OnnxEngine, choose_precision, open_engine
from service.schemas import AnalyzeAnswer, PackAnswer
from service.settings import Settings, read_settings
from tests.packs import SIDE_PX, Square, build_pack, photo
from tests.service.serving import Served, serving, settings_for

CROPS = known_crops(3, SIDE_PX, 2)


def add_twin(folder: Path, *, preferred: bool, space: str | None = None, known: KnownAnswer | None = None) -> Path:
    """Puts a twin into the tiny pack."""
    pack = read_pack(folder)
    (part,) = pack.analyzers
    model = onnx.load(folder / part.file)
    (full,) = (tensor for tensor in model.graph.initializer if tensor.name == "full")
    full.CopyFrom(numpy_helper.from_array(np.asarray(250, np.float32), "full"))
    path = folder / "analyzer-0.int8.onnx"
    onnx.save(model, path)
    crops = known_crops(part.known_answer.seed, part.side_px)
    answers = open_session(path).run({"images": crops}, list(part.tasks))
    twin = TwinPart(
        file=path.name,
        sha256=sha256_of(path),
        known_answer=known or known_answer(7, {task: answers[task] for task in part.tasks}, 1e-4),
        preferred=preferred,
        embedding_space=space,
        cosine_mean=0.999,
        cosine_min=0.99,
        speed=(TwinSpeed(batch_size=1, ratio_min=1.1, ratio_median=1.5, ratio_max=1.9),),
        compared=(TwinComparison(task="age", metric="mae_years", dataset="x", float32=6.0, int8=6.05, num_samples=50),),
        machine="a processor",
        command="mien-export quantise tiny",
    )
    stated = pack.model_copy(update={"analyzers": (part.model_copy(update={"int8": twin}),)})
    (folder / "pack.json").write_text(stated.model_dump_json())
    return folder


def add_half_twin(folder: Path) -> Path:
    """Puts a float16 twin into the tiny pack, which sees two per cent more light too."""
    pack = read_pack(add_twin(folder, preferred=False))
    (part,) = pack.analyzers
    assert part.int8 is not None
    path = folder / "analyzer-0.float16.onnx"
    path.write_bytes((folder / part.int8.file).read_bytes())
    twin = HalfPart(
        file=path.name,
        sha256=sha256_of(path),
        known_answer=part.int8.known_answer,
        cosine_mean=0.9999,
        cosine_min=0.999,
        compared=(
            HalfComparison(task="age", metric="mae_years", dataset="x", float32=6.0, float16=6.01, num_samples=50),
        ),
        command="mien-export halve tiny",
    )
    stated = pack.model_copy(update={"analyzers": (part.model_copy(update={"int8": None, "float16": twin}),)})
    (folder / "pack.json").write_text(stated.model_dump_json())
    return folder


def age_by(pack: Path, precision: str, device: str = "cpu") -> float:
    """The first crop's age."""
    settings = Settings.model_validate({"pack": str(pack), "precision": precision, "device": device})
    engine = open_engine(settings.pack, settings.device, precision=settings.precision)
    engine.warm_up()
    return float(engine.analyze(0, CROPS)["age"][0])


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """The tiny pack, without a twin."""
    return build_pack(tmp_path / "tiny")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with integer dot products, whatever this one is."""
    monkeypatch.setattr("service.onnx_engine.dot_products", lambda: ("avx_vnni",))


@pytest.mark.usefixtures("able")
def test_auto_takes_what_was_measured_to_be_better(pack: Path) -> None:
    """Without a twin, or with one that is not preferred, the float graph runs; with a preferred one the twin."""
    plain = age_by(pack, "auto")
    assert age_by(add_twin(pack, preferred=False), "auto") == plain
    assert age_by(add_twin(pack, preferred=True), "auto") == pytest.approx(plain * 255 / 250, rel=1e-5)


def test_auto_goes_by_the_processor(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that is not known to have integer dot products a twin is slower, and `auto` leaves it."""
    monkeypatch.setattr("service.onnx_engine.dot_products", lambda: ())
    plain = age_by(pack, "float32")
    assert age_by(add_twin(pack, preferred=True), "auto") == plain


@pytest.mark.usefixtures("able")
def test_either_can_be_asked_for(pack: Path) -> None:
    """`float32` and `int8` run what they name, whatever is preferred."""
    plain = age_by(pack, "float32")
    assert age_by(add_twin(pack, preferred=True), "float32") == plain
    assert age_by(add_twin(pack, preferred=False), "int8") > plain


def test_int8_without_a_twin_stops_start_up(pack: Path) -> None:
    """Asked for int8 where there is none, the service does not start, and says how to get one, in one line."""
    with pytest.raises(StartupError, match="pack tiny has no int8 twin; `mien-export quantise` makes one") as caught:
        age_by(pack, "int8")
    assert "\n" not in str(caught.value)


def test_int8_on_a_gpu_stops_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins were measured on CPUs: int8 on CUDA is refused before anything is opened."""
    monkeypatch.setenv("MIEN_PRECISION", "int8")
    with pytest.raises(StartupError, match="MIEN_PRECISION int8 runs on the CPU alone, and MIEN_DEVICE is cuda"):
        read_settings(None, device="cuda")
    monkeypatch.setenv("MIEN_PRECISION", "fp16")
    with pytest.raises(StartupError, match="MIEN_PRECISION: Input should be 'auto', 'float32', 'int8' or 'float16'"):
        read_settings(None)


def test_a_twin_is_held_to_its_own_known_answer(pack: Path) -> None:
    """A twin that answers like the float graph and not as it is stated to is refused by name."""
    (part,) = read_pack(pack).analyzers
    add_twin(pack, preferred=True, known=part.known_answer)
    with pytest.raises(StartupError, match=r"analyzer-0\.int8\.onnx: \w+ differs from the known answer"):
        age_by(pack, "int8")


def test_a_changed_twin_stops_start_up_even_unused(pack: Path) -> None:
    """The twin's hash is verified with all others, whichever graph is served."""
    add_twin(pack, preferred=False)
    with (pack / "analyzer-0.int8.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StartupError, match=r"analyzer-0\.int8\.onnx: its SHA-256"):
        age_by(pack, "float32")


@pytest.fixture
def served(pack: Path) -> Iterator[Served]:
    """A service of a twin whose embeddings have a space of their own."""
    with serving(settings_for(add_twin(pack, preferred=False, space="other-space"), precision="int8")) as service:
        yield service


def test_answers_name_what_ran(served: Served) -> None:
    """Answers, the pack's description and the metrics say int8, and name the space that its embeddings live in."""
    body = served.client.post("/analyze", content=photo(Square(16, 16)), headers={"content-type": "image/png"}).content
    model = AnalyzeAnswer.model_validate_json(body).model
    assert (model.precision, model.embedding_space) == ("int8", "other-space")
    stated = PackAnswer.model_validate_json(served.client.get("/model").content)
    assert (stated.precision, stated.embedding_space) == ("int8", "other-space")
    assert [twin.file for twin in stated.twins] == ["analyzer-0.int8.onnx"]
    assert [(figure.task, figure.value, figure.command) for figure in stated.measured] == [
        ("age", 6.05, "mien-export quantise tiny")
    ]
    assert served.metric("mien_model_info", precision="int8", embedding_space="other-space") == 1


def test_thresholds_of_another_space_do_not_decide(served: Served) -> None:
    """Where a twin's embeddings have their own space, thresholds of the float graph's say nothing of them."""
    first = [1.0] + [0.0] * 11
    answer = served.client.post("/verify", json={"embedding_a": first, "embedding_b": first}).json()
    assert (answer["same"], answer["threshold"], answer["model"]["precision"]) == (None, None, "int8")


def test_a_float_pack_says_float32(pack: Path) -> None:
    """A service without a twin says float32 and lists none."""
    with serving(settings_for(pack)) as service:
        stated = PackAnswer.model_validate_json(service.client.get("/model").content)
    assert (stated.precision, stated.twins, stated.verification is None) == ("float32", [], False)


def test_commands_show_and_check_a_twin(pack: Path) -> None:
    """`mien pack show` tells of the twin what was measured; `mien pack check` runs its known answer too."""
    add_twin(pack, preferred=True)
    shown = CliRunner().invoke(main, ["pack", "show", str(pack)]).output
    assert "analyzer-0.int8.onnx; 1.50 times as fast at batch 1; mean cosine 0.9990; measured on a processor" in shown
    assert "; taken by MIEN_PRECISION=auto" in shown
    assert CliRunner().invoke(main, ["pack", "check", str(pack)]).exit_code == 0
    (part,) = read_pack(pack).analyzers
    add_twin(pack, preferred=True, known=part.known_answer)
    done = CliRunner().invoke(main, ["pack", "check", str(pack)])
    assert (done.exit_code, "analyzer-0.int8.onnx" in done.output) == (1, True)


def test_float16_on_a_cpu_stops_start_up(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision is for a GPU: on a CPU it is refused in one line, by settings and by the engine."""
    monkeypatch.setenv("MIEN_PRECISION", "float16")
    with pytest.raises(StartupError, match="MIEN_PRECISION float16 runs on a GPU alone, and MIEN_DEVICE is cpu"):
        read_settings(None)
    assert read_settings(None, device="cuda").precision == "float16"
    with pytest.raises(StartupError, match="precision float16 runs on a GPU alone, and device 'cpu' was asked for"):
        open_engine(str(add_half_twin(pack)), "cpu", precision="float16")


def test_float16_without_a_twin_stops_start_up(pack: Path) -> None:
    """Asked for float16 where there is none, the service names the command that makes one, in one line."""
    with pytest.raises(StartupError, match="pack tiny has no float16 twin; `mien-export halve` makes one") as caught:
        open_engine(str(add_twin(pack, preferred=True)), "cuda", precision="float16")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("able")
def test_auto_never_takes_float16(pack: Path) -> None:
    """On neither device does `auto` take a float16 twin, however well it answers."""
    stated = read_pack(add_half_twin(pack))
    devices: tuple[Device, ...] = ("cpu", "cuda")
    assert [choose_precision(stated, device, "auto") for device in devices] == ["float32", "float32"]
    assert choose_precision(stated, "cuda", "float16") == "float16"


def test_answers_name_float16(pack: Path) -> None:
    """A service whose engine runs float16 twins says so in its answers, its description and its metrics."""
    stated = with_twins(read_pack(add_half_twin(pack)), "float16")
    sessions = [open_session(pack / part.file) for part in stated.analyzers]
    detector = Detector(open_session(pack / stated.detector.file), stated.detector)
    engine = OnnxEngine(stated, detector, sessions, "CUDAExecutionProvider")
    with serving(settings_for(pack), engine) as service:
        body = service.client.post("/analyze", content=photo(Square(16, 16)), headers={"content-type": "image/png"})
        described = PackAnswer.model_validate_json(service.client.get("/model").content)
        assert service.metric("mien_model_info", precision="float16") == 1
    assert AnalyzeAnswer.model_validate_json(body.content).model.precision == "float16"
    assert (described.precision, [twin.file for twin in described.twins]) == ("float16", ["analyzer-0.float16.onnx"])
    assert [(figure.task, figure.value) for figure in described.measured] == [("age", 6.01)]


def test_commands_show_a_float16_twin(pack: Path) -> None:
    """`mien pack show` names the setting that takes it; `mien pack check` verifies its file, and on a CPU no more."""
    add_half_twin(pack)
    shown = CliRunner().invoke(main, ["pack", "show", str(pack)]).output
    assert "float16 twin analyzer-0.float16.onnx; mean cosine 0.9999; taken by MIEN_PRECISION=float16 alone" in shown
    assert CliRunner().invoke(main, ["pack", "check", str(pack)]).exit_code == 0
    with (pack / "analyzer-0.float16.onnx").open("ab") as file:
        file.write(b"x")
    done = CliRunner().invoke(main, ["pack", "check", str(pack)])
    assert (done.exit_code, "analyzer-0.float16.onnx" in done.output) == (1, True)
