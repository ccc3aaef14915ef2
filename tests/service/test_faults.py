"""Faults of a graph or an engine: each face's is its own, and no NaN, infinity or missing row is ever an answer."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine import Outputs
from service.onnx_engine import open_engine
from tests.packs import Square, build_pack, photo
from tests.service.serving import WrappedEngine, serving, settings_for

GOOD = photo(Square(16, 16))
WHITE = photo(Square(16, 16, 32, (255, 255, 255)))
IMAGE = {"content-type": "image/png"}


class ShortEngine(WrappedEngine):
    """An engine that answers one row less than it was given crops."""

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        return {task: rows[:-1] for task, rows in super().analyze(index, crops, spread=spread).items()}

    def warm_up(self) -> None:
        """Left out: it would fail."""


class LongEngine(WrappedEngine):
    """An engine that answers one row more than it was given crops."""

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        return {
            task: np.concatenate([rows, rows[:1]])
            for task, rows in super().analyze(index, crops, spread=spread).items()
        }

    def warm_up(self) -> None:
        """Left out: it would fail."""


class InfiniteEngine(WrappedEngine):
    """An engine whose ages are infinite."""

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        answered = super().analyze(index, crops, spread=spread)
        return {**answered, "age": np.full_like(answered["age"], np.inf)}

    def warm_up(self) -> None:
        """Left out: it would fail."""


@pytest.mark.parametrize("fault", ["failing", "nan", "short"])
def test_graph_that_fails_on_one_face_answers_the_next(tmp_path: Path, fault: str) -> None:
    """A graph that raises, answers NaN or drops a row on a white face gives that image 500; other images answer."""
    pack = build_pack(tmp_path / fault, fault=fault)  # type: ignore[arg-type]
    with serving(settings_for(pack, max_batch=1)) as served:
        assert served.client.post("/analyze", content=WHITE, headers=IMAGE).status_code == 500
        files = [("files", ("a", GOOD)), ("files", ("b", WHITE)), ("files", ("c", GOOD))]
        images = served.client.post("/analyze", files=files).json()["images"]
        assert [image["error"] and image["error"]["status"] for image in images] == [None, 500, None]
        assert [len(image["faces"]) for image in images] == [1, 0, 1]


def test_slow_graph_misses_its_deadline_and_the_service_goes_on(tmp_path: Path) -> None:
    """A face that takes the graph longer than the deadline is 504; the next one is answered."""
    pack = build_pack(tmp_path / "slow", fault="slow")
    with serving(settings_for(pack)) as served:
        late = served.client.post("/analyze", content=WHITE, headers={**IMAGE, "x-deadline-ms": "60"})
        assert late.status_code == 504
        assert served.client.post("/analyze", content=GOOD, headers=IMAGE).status_code == 200


@pytest.mark.parametrize("engine", [ShortEngine, LongEngine])
def test_engine_that_is_a_row_off_answers_nobody(tiny_pack: Path, engine: type[WrappedEngine]) -> None:
    """Outputs with fewer or more rows than crops are 500, counted: no face ever gets another's answer."""
    with serving(settings_for(tiny_pack), engine(open_engine(str(tiny_pack)))) as served:
        assert served.client.post("/analyze", content=GOOD, headers=IMAGE).status_code == 500
        assert served.metric("mien_failed_runs_total", model="analyzer-0") == 1


class HugeEngine(WrappedEngine):
    """An engine whose embeddings are finite, and too large to be added up."""

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        found = super().analyze(index, crops, spread=spread)
        return {task: np.full_like(rows, 3e38) if task == "embedding" else rows for task, rows in found.items()}

    def warm_up(self) -> None:
        """Left out: it would fail."""


def test_finite_answer_is_answered_however_large(tiny_pack: Path) -> None:
    """Numbers whose sum is infinite are answered: each is finite."""
    with serving(settings_for(tiny_pack), HugeEngine(open_engine(str(tiny_pack)))) as served:
        answer = served.client.post("/analyze", content=GOOD, headers=IMAGE)
        assert set(answer.json()["images"][0]["faces"][0]["embedding"]) == {3e38}
        assert served.metric("mien_nonfinite_answers_total", model="analyzer-0") == 0


def test_infinite_answer_is_500_and_counted(tiny_pack: Path) -> None:
    """An infinite age is a 500 problem and counted, never a number that JSON does not have."""
    with serving(settings_for(tiny_pack), InfiniteEngine(open_engine(str(tiny_pack)))) as served:
        for query in ("", "?tasks=gender"):
            answer = served.client.post(f"/analyze{query}", content=GOOD, headers=IMAGE)
            assert (answer.status_code, answer.json()["type"]) == (500, "urn:mien:problem:internal-error")
        assert served.metric("mien_nonfinite_answers_total", model="analyzer-0") == 2


def test_detector_that_answers_nan_is_500_and_not_an_empty_picture(tmp_path: Path) -> None:
    """A picture whose detection gave NaN is 500 and counted, not 200 without faces; the others are answered."""
    with serving(settings_for(build_pack(tmp_path / "blind", fault="blind"))) as served:
        assert served.client.post("/analyze", content=WHITE, headers=IMAGE).status_code == 500
        files = [("files", ("a", GOOD)), ("files", ("b", WHITE))]
        images = served.client.post("/analyze", files=files).json()["images"]
        assert [image["error"] and image["error"]["status"] for image in images] == [None, 500]
        assert [len(image["faces"]) for image in images] == [1, 0]
        assert served.metric("mien_nonfinite_answers_total", model="detector") == 2
