"""The door without HTTP: the same answers, for a command line."""

from pathlib import Path

import numpy as np
import pytest

from service.analysis import Options, Upload
from service.app import open_analyzer
from service.errors import InvalidOption, NoFace, NotFound, StartupError, UnsupportedImage
from service.onnx_engine import open_engine
from tests.packs import Square, photo
from tests.service.serving import Served, WrappedEngine, settings_for

RED = photo(Square(16, 16, 32, (255, 60, 220)))
GREEN = photo(Square(16, 16, 32, (60, 255, 220)))


class WrongAnswer(WrappedEngine):
    """An engine whose warm-up finds another answer than the pack's."""

    def warm_up(self) -> None:
        raise StartupError("wrong")


def test_same_answers_as_over_http(tiny_pack: Path, served: Served) -> None:
    """An image analysed in process has the embedding that HTTP answers."""
    over_http = served.client.post("/analyze", files={"files": RED}).json()["images"][0]["faces"][0]["embedding"]
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        (face,) = analyzer.analyze([RED]).images[0].faces
    np.testing.assert_array_equal(face.outputs["embedding"], np.float32(over_http))


def test_images_keep_their_order_and_their_errors(tiny_pack: Path) -> None:
    """Several images come back in order; one that cannot be read carries its error."""
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        first, second, third = analyzer.analyze([RED, b"text", GREEN], Options(("age",))).images
        assert isinstance(second.error, UnsupportedImage)
        assert [set(image.faces[0].outputs) for image in (first, third)] == [{"age"}, {"age"}]


def test_images_under_way_side_by_side_have_the_same_answers(tiny_pack: Path) -> None:
    """What was submitted is read in a lane and analysed as in one call; what cannot be read says so."""

    def gone() -> Upload:
        raise NotFound("There is no such file.")

    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        options = analyzer.default_options
        together = analyzer.analyze([RED, GREEN, b"text"]).images
        reads = [lambda data=data: Upload(data) for data in (RED, GREEN, b"text")]
        waiting = [analyzer.submit(read, options) for read in reads]
        for alone, beside in zip((future.result() for future in waiting), together, strict=True):
            assert (alone.width, type(alone.error)) == (beside.width, type(beside.error))
            for face, other in zip(alone.faces, beside.faces, strict=True):
                np.testing.assert_allclose(face.outputs["embedding"], other.outputs["embedding"], atol=1e-6)
        with pytest.raises(NotFound):
            analyzer.submit(gone, options).result()


def test_useful_images_in_flight_follow_lanes_and_batches(tiny_pack: Path) -> None:
    """Photographs are one at a time in a lane; aligned crops a batch; and each decode lane has one to go on with."""
    settings = settings_for(tiny_pack).model_copy(update={"lanes": 1, "decode_lanes": 3, "max_batch": 5})
    with open_analyzer(settings) as analyzer:
        decode_lanes = settings.num_decode_lanes
        assert analyzer.useful_in_flight(aligned=False) == 2 * (1 + decode_lanes)
        assert analyzer.useful_in_flight(aligned=True) == 2 * (5 + decode_lanes)


def test_verify(tiny_pack: Path) -> None:
    """Two images are compared as over HTTP, with the same refusals."""
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        assert analyzer.verify(RED, RED).same is True
        assert analyzer.verify(RED, GREEN).same is False
        assert analyzer.verify(RED, GREEN, threshold=-1).same is True
        with pytest.raises(NoFace, match="image_b"):
            analyzer.verify(RED, photo())
        with pytest.raises(InvalidOption):
            analyzer.verify(RED, RED, fmr=0.5)


def test_wrong_pack_is_refused_when_it_is_opened(tiny_pack: Path) -> None:
    """A pack that answers wrongly is refused, and leaves no thread behind that keeps the process."""
    with pytest.raises(StartupError, match="wrong"):
        open_analyzer(settings_for(tiny_pack), WrongAnswer(open_engine(str(tiny_pack))))


def test_closing_twice_is_nothing(tiny_pack: Path) -> None:
    """A closed analyzer may be closed again."""
    analyzer = open_analyzer(settings_for(tiny_pack))
    analyzer.close()
    analyzer.close()
