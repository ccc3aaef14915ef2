"""The client: it starts the real service, asks it, stops it, and says in one line why it could not."""

import socket
from email import message_from_bytes
from pathlib import Path

import pytest

from service.client import HOST, ServiceProcessError, free_port, is_free, multipart, serving
from tests.packs import Square, build_pack, photo


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_pack(tmp_path_factory.mktemp("packs") / "tiny"))


def test_a_service_runs_in_the_block_and_is_gone_after_it(tiny: str) -> None:
    """It is ready when the block begins, answers files and JSON, and ends in order with 0."""
    port = free_port()
    with serving(port, tiny) as service:
        assert service.url == f"http://127.0.0.1:{port}/"
        answer = service.post_files("/analyze", [("files", "a.png", photo(Square(40, 40)))])
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert len(answer.json()["images"][0]["faces"]) == 1  # type: ignore[index]
        assert service.post_json("/analyze", {"images": []}).status == 400
    assert service.process.returncode == 0
    assert is_free(port)


def test_a_service_is_stopped_when_the_block_fails(tiny: str) -> None:
    """An error in the block leaves no process behind, and is the error that is seen."""
    with pytest.raises(KeyError), serving(free_port(), tiny) as service:
        raise KeyError
    assert service.process.poll() == 0


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Its own last line is passed on."""
    with (
        pytest.raises(ServiceProcessError, match="did not start: no pack at"),
        serving(free_port(), str(tmp_path / "x")),
    ):
        pass


def test_a_taken_port_is_named_and_its_owner_not_mistaken_for_the_service(tiny: str) -> None:
    """A port that somebody listens on is no free one."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(ServiceProcessError, match=f"port {port} is taken"), serving(port, tiny):
            pass


def test_a_multipart_body_holds_the_files_whole() -> None:
    """Names with quotes and line ends cannot break the form, and bytes stay as they are."""
    data = bytes(range(256)) + b"\r\n--x\r\n"
    body = multipart([("files", 'a"\r\nb.jpg', data), ("files", "c.png", b"")], "boundary7")
    message = message_from_bytes(b"content-type: multipart/form-data; boundary=boundary7\r\n\r\n" + body)
    parts = list(message.walk())[1:]
    assert len(parts) == 2
    assert parts[0].get_param("filename", header="content-disposition") == "a%22%0D%0Ab.jpg"
    assert data in body
