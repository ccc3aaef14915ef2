"""Bad, odd and hostile input to the real service over HTTP: each gets its status and a clear message, or its faces.

After each the same service answers the next good request (the `caller` fixture sees to it).
"""

import http.client
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.client import HOST, Service
from service.schemas import ImageAnswer, Problem
from tests.e2e.conftest import NUM_FACES, Caller, problem_of
from tests.service import pictures
from tests.service.pictures import opened, oriented, saved

MB = 1_000_000


@pytest.fixture(scope="module")
def group(six_faces: bytes) -> Image.Image:
    return opened(six_faces)


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return shared / (area - shared)


def same_faces(found: ImageAnswer, expected: ImageAnswer, zoom: float = 1) -> bool:
    """Whether both hold the same faces in the same places, each box of one on a box of the other."""
    wanted = [[value * zoom for value in face.box] for face in expected.faces]
    matches = [max(overlap(face.box, box) for face in found.faces) for box in wanted]
    return len(found.faces) == len(wanted) and min(matches) > 0.7


def test_an_empty_body_is_400(caller: Caller) -> None:
    """A raw body without a byte is malformed, and the answer says that it is empty."""
    answer = caller.service.ask("POST", "/analyze", b"", {"content-type": "image/jpeg"})
    assert "empty" in problem_of(answer, 400).detail


def test_an_empty_file_is_400(caller: Caller) -> None:
    """A multipart file without a byte is malformed, and the answer says that it is empty."""
    assert "empty" in problem_of(caller.analyze(b""), 400).detail


def test_no_file_at_all_is_400(caller: Caller) -> None:
    """A multipart body without a part names the part that it lacks."""
    assert "files" in problem_of(caller.analyze(), 400).detail


def test_text_named_jpg_is_415(caller: Caller) -> None:
    """The bytes decide, whatever the name says, and the answer lists what is allowed."""
    problem = problem_of(caller.analyze(b"I am a letter, and only my name says otherwise.\n"), 415)
    assert "JPEG, PNG, WebP, BMP, GIF and TIFF" in problem.detail


def test_a_truncated_jpeg_is_422(caller: Caller, six_faces: bytes) -> None:
    """A photograph that ends early is refused, never answered with a grey half."""
    assert "cut off or damaged" in problem_of(caller.analyze(six_faces[: len(six_faces) * 2 // 3]), 422).detail


def test_a_png_of_900_million_pixels_is_413(caller: Caller) -> None:
    """30,000 x 30,000 pixels in 100 kB are refused by their header, without the memory that they would take."""
    before = peak_mb(caller.service)
    assert "30000 x 30000 pixels" in problem_of(caller.analyze(pictures.bomb_png()), 413).detail
    assert peak_mb(caller.service) - before < 50


def test_a_photograph_of_12_megapixels_is_answered_in_its_own_pixels(
    caller: Caller, group: Image.Image, six_faces: bytes
) -> None:
    """A large photograph, which is decoded scaled down, has its boxes in full-size pixels."""
    large = group.resize((4168, 2885), Image.Resampling.BICUBIC)
    assert large.width * large.height > 12_000_000
    found = caller.faces(saved(large, "JPEG", quality=90))
    assert (found.width, found.height) == (4168, 2885)
    assert same_faces(found, caller.faces(six_faces), zoom=4168 / 1280)


def test_a_cmyk_jpeg_is_answered(caller: Caller, group: Image.Image, six_faces: bytes) -> None:
    """A JPEG in printing inks has the same faces."""
    assert same_faces(caller.faces(saved(group.convert("CMYK"), "JPEG", quality=90)), caller.faces(six_faces))


def test_a_png_of_16_bits_is_answered(caller: Caller, group: Image.Image, six_faces: bytes) -> None:
    """A PNG of 16 bits a channel has the same faces."""
    deep = pictures.png_16_bit_rgb(np.asarray(group))
    assert same_faces(caller.faces(deep), caller.faces(six_faces))


def test_a_grey_png_of_16_bits_is_answered(caller: Caller, group: Image.Image) -> None:
    """A grey PNG of 16 bits has the faces that the same picture has in 8 bits."""
    grey = group.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert same_faces(caller.faces(saved(deep, "PNG")), caller.faces(saved(grey, "PNG")))


def test_a_palette_png_is_answered(caller: Caller, group: Image.Image, six_faces: bytes) -> None:
    """A PNG of 256 colours has the same faces."""
    assert same_faces(caller.faces(saved(group.quantize(256), "PNG")), caller.faces(six_faces))


def test_an_animated_gif_is_answered_by_its_first_frame(caller: Caller, group: Image.Image, six_faces: bytes) -> None:
    """Of an animation the first frame's faces are answered."""
    blank = Image.new("RGB", group.size, (30, 90, 30))
    gif = saved(group.quantize(256), "GIF", save_all=True, append_images=[blank], duration=100)
    assert same_faces(caller.faces(gif), caller.faces(six_faces))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_has_the_same_faces(
    caller: Caller, group: Image.Image, six_faces: bytes, orientation: int
) -> None:
    """However the camera was held, boxes and landmarks are in pixels of the upright picture."""
    found, upright = caller.faces(oriented(group, orientation, quality=90)), caller.faces(six_faces)
    assert (found.width, found.height) == (1280, 886)
    assert same_faces(found, upright)
    for face in found.faces:
        assert face.landmarks is not None
        assert face.landmarks.left_eye[0] < face.landmarks.right_eye[0]
        assert face.landmarks.left_eye[1] < face.landmarks.mouth_left[1]


def test_an_upload_of_50_mb_is_413_while_it_streams(caller: Caller) -> None:
    """A body without a stated length is refused once it passes the cap, before its end, in bounded memory."""
    before = peak_mb(caller.service)
    with socket.create_connection((HOST, caller.service.port), timeout=60) as connection:
        connection.sendall(
            b"POST /analyze HTTP/1.1\r\nhost: test\r\ncontent-type: image/jpeg\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        sent = send_until_answered(connection, chunks(50 * MB))
        # Headers and body may come in two packets: one `recv` would at times miss the second.
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        detail = Problem.model_validate_json(answer.read()).detail
    assert answer.status == 413
    assert "32 MB" in detail or "32000000" in detail or "32,000,000" in detail
    assert sent < 50 * MB
    assert peak_mb(caller.service) - before < 120


def test_200_files_are_413(caller: Caller, group: Image.Image) -> None:
    """More files than a request may hold are refused, and the answer says how many are allowed."""
    thumbnail = saved(group.resize((128, 88)), "JPEG")
    assert "32" in problem_of(caller.analyze(*[thumbnail] * 200), 413).detail


def test_a_picture_without_a_face_is_answered_with_none(caller: Caller, group: Image.Image) -> None:
    """No face is no error: 200 and an empty list."""
    found = caller.faces(saved(group.crop((560, 600, 860, 860)), "PNG"))
    assert found.error is None
    assert found.faces == []
    assert (found.width, found.height) == (300, 260)


def test_an_unknown_task_is_422_with_the_nearest_one(caller: Caller, six_faces: bytes) -> None:
    """A task that does not exist is refused before anything is analysed, and the nearest one is named."""
    problem = problem_of(caller.analyze(six_faces, query="?tasks=age,expresion"), 422)
    assert "expresion" in problem.detail
    assert "'expression'" in problem.detail


def test_a_misspelt_option_is_422_with_the_nearest_one(caller: Caller, six_faces: bytes) -> None:
    """An option that does not exist is refused, and the nearest one is named."""
    problem = problem_of(caller.analyze(six_faces, query="?max_face=2"), 422)
    assert "max_face" in problem.detail
    assert "'max_faces'" in problem.detail


def test_a_wrong_method_is_405_with_the_right_one(caller: Caller) -> None:
    """GET on /analyze is refused, and the header says what is allowed."""
    answer = caller.service.ask("GET", "/analyze")
    assert "POST" in problem_of(answer, 405).detail + answer.headers["allow"]
    assert answer.headers["allow"] == "POST"


def test_one_bad_picture_among_good_ones_gets_its_own_error(caller: Caller, six_faces: bytes, astronaut: bytes) -> None:
    """The others are answered, in their places."""
    answer = caller.analyze(six_faces, b"no picture", astronaut)
    assert answer.status == 200
    images = [ImageAnswer.model_validate(image) for image in answer.json()["images"]]  # type: ignore[index]
    assert [len(image.faces) for image in images] == [NUM_FACES, 0, 1]
    assert [None if image.error is None else image.error.status for image in images] == [None, 415, None]


def chunks(num_bytes: int) -> Iterator[bytes]:
    """A body of that many bytes that begins like a JPEG, in chunks of 64 kB as HTTP frames them."""
    size = 65_536
    data = b"\xff\xd8\xff" + bytes(size - 3)
    for _ in range(num_bytes // size):
        yield f"{size:x}\r\n".encode() + data + b"\r\n"
    yield b"0\r\n\r\n"


def send_until_answered(connection: socket.socket, body: Iterator[bytes]) -> int:
    """Sends chunks until the service has answered; how many bytes that took.

    A little over the cap it stops sending and waits: an answer then comes in the middle of the upload, or never.
    """
    sent = 0
    for chunk in body:
        if sent > 36 * MB:
            assert select.select([connection], [], [], 60)[0], "no answer in the middle of the upload"
        if select.select([connection], [], [], 0)[0]:
            return sent
        connection.sendall(chunk)
        sent += len(chunk)
    return sent


def peak_mb(service: Service) -> float:
    """The most memory that the service's process has held so far."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000
