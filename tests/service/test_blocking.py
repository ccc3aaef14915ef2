"""The door without HTTP: the same answers, for a command line."""

from pathlib import Path

import numpy as np
import pytest

from service.analysis import Options
from service.app import open_analyzer
from service.errors import InvalidOption, NoFace, StartupError, UnsupportedImage
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
