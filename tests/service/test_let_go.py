"""What a request held is let go of with its answer, whatever went wrong: nothing waits for Python's collector.

Under load the collector comes to old objects seldom, and a picture that is kept till then is tens of megabytes.
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from service.errors import Disconnected, ServiceError
from tests.house import tree
from tests.packs import Square, photo
from tests.service.pictures import opened, saved
from tests.service.serving import Served, gated, serving, settings_for, wait_until

PHOTO = photo(Square(16, 16))
JPEG = saved(opened(PHOTO), "JPEG")
HEAD = {"content-type": "image/png"}
SERVICE = str(tree.PROJECT / "service")
FORM_TYPE = "multipart/form-data; boundary=x"
FORM = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n' + PHOTO


@pytest.fixture
def still() -> Iterator[None]:
    """The collector does not come of itself."""
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def left() -> list[str]:
    """Refusals, and frames of this service, that only the collector can free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    frames = [
        each for each in gc.garbage if isinstance(each, FrameType) and each.f_code.co_filename.startswith(SERVICE)
    ]
    refusals = [each for each in gc.garbage if isinstance(each, (ServiceError, Disconnected))]
    return [*(repr(each) for each in refusals), *(each.f_code.co_qualname for each in frames)]


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        pytest.param("/analyze", JPEG[: len(JPEG) // 2], "image/jpeg", 422, id="JPEG cut off"),
        pytest.param("/analyze", PHOTO[: len(PHOTO) // 2], "image/png", 422, id="PNG cut off"),
        pytest.param("/analyze", b"no picture at all", "image/jpeg", 415, id="text"),
        pytest.param("/analyze", b"", "image/jpeg", 400, id="empty"),
        pytest.param("/analyze", FORM, FORM_TYPE, 400, id="multipart without an end"),
        pytest.param("/analyze", b"{", "application/json", 400, id="not JSON"),
        pytest.param("/analyze?tasks=mood", PHOTO, "image/jpeg", 422, id="unknown task"),
        pytest.param("/analyze?colour=1", PHOTO, "image/jpeg", 422, id="unknown option"),
        pytest.param("/verify", b'{"image_a": "bm8=", "image_b": "bm8="}', "application/json", 415, id="verify"),
        pytest.param("/nowhere", b"", "image/jpeg", 404, id="no path"),
    ],
)
def test_a_refused_request_leaves_nothing(
    served: Served, path: str, body: bytes, content_type: str, status: int
) -> None:
    """Neither a refusal nor a frame that it came through, with the picture and the body in it."""
    for _ in range(4):
        answer = served.client.post(path, content=body, headers={"content-type": content_type})
        assert answer.status_code == status, answer.text
    assert left() == []


@pytest.mark.usefixtures("still")
def test_a_missed_deadline_leaves_nothing(tiny_pack: Path) -> None:
    """Whether it passed while a model ran or while its item waited in the queue."""
    engine = gated(tiny_pack)
    with serving(settings_for(tiny_pack, lanes=1), engine) as served:
        for _ in range(3):
            answer = served.client.post("/analyze", content=PHOTO, headers={**HEAD, "x-deadline-ms": "60"})
            assert answer.status_code == 504, answer.text
        engine.gate.set()
        wait_until(lambda: served.parts.admission.in_flight == 0)
        assert served.client.post("/analyze", content=PHOTO, headers=HEAD).status_code == 200
        assert left() == []


@pytest.mark.usefixtures("still")
def test_who_hung_up_leaves_nothing(tiny_pack: Path) -> None:
    """A caller that goes away while a model runs."""
    engine = gated(tiny_pack)
    with serving(settings_for(tiny_pack), engine) as served:
        with pytest.raises(Exception, match="timed out"):
            served.client.post("/analyze", content=PHOTO, headers=HEAD, timeout=0.3)
        engine.wait_for_run()
        wait_until(lambda: served.metric("mien_disconnects_total") == 1)
        engine.gate.set()
        assert served.client.post("/analyze", content=PHOTO, headers=HEAD).status_code == 200
        assert left() == []
