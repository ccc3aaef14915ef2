"""A pack with its twins in the analyzers' places: what is then stated of it."""

import json
from pathlib import Path

import pytest

from model.runtime.pack import Figure, Pack, PackError, read_pack
from model.runtime.twin_part import HalfComparison, HalfPart, TwinComparison, TwinPart
from model.runtime.twins import is_preferred, with_twins
from tests.packs import build_pack

DIGEST = "0" * 64


def twin(pack: Pack, index: int, *, preferred: bool = True, is_known: bool = True) -> Pack:
    """The pack with a twin stated for one of its analyzers."""
    part = pack.analyzers[index]
    stated = TwinPart(
        file=f"analyzer-{index}.int8.onnx",
        sha256=DIGEST,
        preferred=preferred,
        known_answer=part.known_answer if is_known else None,
        compared=tuple(
            TwinComparison(task=task, metric="m", dataset="d", float32=1, int8=2, num_samples=3) for task in part.tasks
        ),
    )
    parts = list(pack.analyzers)
    parts[index] = part.model_copy(update={"int8": stated})
    return pack.model_copy(update={"analyzers": tuple(parts)})


def half_twin(pack: Pack, index: int, space: str | None = None) -> Pack:
    """The pack with a float16 twin stated for one of its analyzers."""
    part = pack.analyzers[index]
    stated = HalfPart(
        file=f"analyzer-{index}.float16.onnx",
        sha256=DIGEST,
        known_answer=part.known_answer,
        embedding_space=space,
        compared=(HalfComparison(task=part.tasks[0], metric="m", dataset="d", float32=1, float16=1.5, num_samples=3),),
    )
    parts = list(pack.analyzers)
    parts[index] = part.model_copy(update={"float16": stated})
    return pack.model_copy(update={"analyzers": tuple(parts)})


@pytest.fixture
def two(tmp_path: Path) -> Pack:
    """A pack of two analyzers with a figure for each."""
    pack = read_pack(build_pack(tmp_path / "two", tasks=[["embedding", "age"], ["gender"]], sides_px=[32, 32]))
    figures = [
        Figure(task=task, metric="m", value=1, dataset="d", num_samples=3, command="c") for task in ("age", "gender")
    ]
    return pack.model_copy(update={"measured": tuple(figures)})


def test_a_twin_stands_in_its_analyzers_place(two: Pack) -> None:
    """File, hash and figures are the twin's; an analyzer without one stays, and the whole is mixed."""
    served = with_twins(twin(two, 0))
    assert [part.file for part in served.analyzers] == ["analyzer-0.int8.onnx", "analyzer-1.onnx"]
    assert [part.precision for part in served.analyzers] == ["int8", "float32"]
    assert (two.precision, served.precision, with_twins(twin(twin(two, 0), 1)).precision) == (
        "float32", "mixed", "int8",
    )  # fmt: skip
    assert {(figure.task, figure.value) for figure in served.measured} == {("embedding", 2), ("age", 2), ("gender", 1)}
    assert (served.verification, served.embedding_space) == (two.verification, two.embedding_space)


def test_every_twin_must_be_preferred(two: Pack) -> None:
    """One twin that was not measured to be better, or none at all, leaves the float graphs preferred."""
    assert not is_preferred(two)
    assert is_preferred(twin(two, 0))
    assert not is_preferred(twin(twin(two, 0), 1, preferred=False))


def test_a_pack_without_a_twin_is_one_line(two: Pack) -> None:
    """No twin, or one without a known answer, cannot be served."""
    with pytest.raises(PackError, match="pack tiny has no int8 twin"):
        with_twins(two)
    with pytest.raises(PackError, match=r"analyzer-1\.int8\.onnx: the pack states no known answer"):
        with_twins(twin(two, 1, is_known=False))


def test_each_precision_has_its_own_twin(two: Pack) -> None:
    """Of a pack with both kinds the one that is asked for runs, with its own file and figures, beside what has none."""
    pack = half_twin(twin(two, 0), 0)
    served = with_twins(pack, "float16")
    assert [part.file for part in served.analyzers] == ["analyzer-0.float16.onnx", "analyzer-1.onnx"]
    assert [part.precision for part in served.analyzers] == ["float16", "float32"]
    assert (served.precision, with_twins(half_twin(pack, 1), "float16").precision) == ("mixed", "float16")
    assert {(figure.task, figure.value) for figure in served.measured} == {("embedding", 1.5), ("gender", 1)}
    assert with_twins(pack, "int8").analyzers[0].file == "analyzer-0.int8.onnx"
    assert {part.file for part in pack.files()} >= {"analyzer-0.int8.onnx", "analyzer-0.float16.onnx"}


def test_a_float16_twin_may_have_a_space_of_its_own(two: Pack) -> None:
    """Where nobody measured how far its embeddings moved, they are compared among themselves, by no threshold."""
    served = with_twins(half_twin(two, 0, "half-space"), "float16")
    assert (served.embedding_space, served.verification) == ("half-space", None)


def test_a_float16_twin_is_never_preferred(two: Pack) -> None:
    """What `auto` goes by are int8 twins alone; and a pack without a float16 twin is told how to get one."""
    assert not is_preferred(half_twin(two, 0))
    with pytest.raises(PackError, match="pack tiny has no float16 twin; `mien-export halve` makes one"):
        with_twins(twin(two, 0), "float16")


def test_a_manifest_from_before_float16_is_read(tmp_path: Path) -> None:
    """A `pack.json` that knows no float16 twin reads as it always did, and states none."""
    folder = build_pack(tmp_path / "old")
    stated = json.loads((folder / "pack.json").read_text())
    assert stated["analyzers"][0].pop("float16") is None
    (folder / "pack.json").write_text(json.dumps(stated))
    (part,) = read_pack(folder).analyzers
    assert (part.float16, part.twins, part.precision) == (None, {}, "float32")
