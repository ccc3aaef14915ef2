"""A pack with its twins in the analyzers' places: what is then stated of it."""

from pathlib import Path

import pytest

from model.runtime.pack import Figure, Pack, PackError, TwinComparison, TwinPart, read_pack
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
