"""Uploads: multipart parsed as it streams in, however it is cut up, and JSON read strictly."""

import asyncio
import base64
import itertools
import random
from collections.abc import AsyncIterator

import httpx
import pytest

from service.errors import BadRequest, QueueFull, TooLarge, UnknownOption, UnreadableImage
from service.uploads import Part, from_base64, kind_of, parse_object, read_multipart, read_whole

FILES = [
    ("a.jpg", b"plain"),
    ("b", b""),
    ("\u00e9 \u4e16.png", bytes(range(256)) * 40),
    ("c", b"\r\n--\r\n--boundar\r\n\r\n"),
]


def encoded() -> tuple[str, bytes]:
    """A multipart body as a real client makes it."""
    request = httpx.Request("POST", "http://x", files=[("files", file) for file in FILES])
    return request.headers["content-type"], request.read()


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def read(content_type: str, *chunks: bytes, max_parts: int = 10, grown: list[int] | None = None) -> list[Part]:
    grow = (lambda _: None) if grown is None else grown.append
    return asyncio.run(read_multipart(content_type, chunks_of(*chunks), ["files"], max_parts, grow))


@pytest.mark.parametrize("seed", range(20))
def test_parts_do_not_depend_on_how_the_body_is_cut_up(seed: int) -> None:
    """Names and bytes are the same wherever the network cuts the body, in the middle of a boundary too."""
    content_type, body = encoded()
    rng = random.Random(seed)
    cuts = range(len(body) + 1) if seed == 0 else sorted({0, len(body), *rng.choices(range(len(body)), k=30)})
    pieces = [body[start:end] for start, end in itertools.pairwise(cuts)]
    parts = read(content_type, *pieces)
    assert [(part.name, part.filename, bytes(part.data)) for part in parts] == [("files", *file) for file in FILES]


def test_each_part_after_the_first_grows_the_ticket() -> None:
    """The first part's permit was taken at the headers; each further part takes one, before its bytes are kept."""
    content_type, body = encoded()
    grown: list[int] = []
    read(content_type, body, grown=grown)
    assert grown == [1, 1, 1]


def test_refusal_to_grow_ends_the_reading() -> None:
    """A ticket that cannot grow ends the request there."""

    def refuse(_: int) -> None:
        raise QueueFull("full")

    content_type, body = encoded()
    with pytest.raises(QueueFull):
        asyncio.run(read_multipart(content_type, chunks_of(body), ["files"], 10, refuse))


def test_one_part_too_many_is_refused_at_its_headers() -> None:
    """The part over the cap is refused before its bytes have come."""
    content_type, body = encoded()
    with pytest.raises(TooLarge):
        read(content_type, body[: body.index(b'c"') + 60], max_parts=3)


def test_long_header_is_no_way_to_fill_memory() -> None:
    """A part whose header never ends is malformed."""
    with pytest.raises(BadRequest):
        read("multipart/form-data; boundary=b", b"--b\r\ncontent-disposition: form-data; x=" + b"y" * 100_000)


def test_part_without_a_name_is_unknown() -> None:
    """A part that names no field is refused."""
    with pytest.raises(UnknownOption):
        read("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n")


def test_long_file_name_is_cut() -> None:
    """A file name is echoed up to 255 characters."""
    head = b'--b\r\ncontent-disposition: form-data; name="files"; filename="' + b"n" * 2000 + b'"\r\n\r\n'
    (part,) = read("multipart/form-data; boundary=b", head + b"x\r\n--b--\r\n")
    assert part.filename == "n" * 255


def test_json_is_an_object_of_known_keys() -> None:
    """Text that is no JSON, no object, or has an unknown key is refused."""
    assert parse_object(b'{"images": []}', ["images"]) == {"images": []}
    for text in (b"{", b"[]", b"1", b"nan", b'{"images": NaN}', b"\xff", b"[" * 100_000):
        with pytest.raises(BadRequest):
            parse_object(text, ["images"])
    with pytest.raises(UnknownOption, match="did you mean 'images'"):
        parse_object(b'{"image": []}', ["images"])


def test_base64_is_strict() -> None:
    """Base64 is taken whole or not at all; what is no text is no image."""
    assert from_base64(base64.b64encode(b"abc").decode(), "it").data == b"abc"
    for text in ("abc", "a b c d", "%%%%", "\u00e9\u00e9\u00e9\u00e9"):
        assert isinstance(from_base64(text, "it").error, UnreadableImage)
    values: list[object] = [None, 1, ["x"], {}]
    for value in values:
        with pytest.raises(BadRequest):
            from_base64(value, "it")


def test_whole_body() -> None:
    """A raw body comes together again; an empty one is refused."""
    assert asyncio.run(read_whole(chunks_of(b"a", b"", b"bc"))) == b"abc"
    with pytest.raises(BadRequest):
        asyncio.run(read_whole(chunks_of(b"", b"")))


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("Image/JPEG", "image/jpeg"), ("application/json; charset=utf-8", "application/json"), ("", "")],
)
def test_kind_is_the_bare_type(content_type: str, kind: str) -> None:
    """Parameters and case of a content type do not matter."""
    assert kind_of(content_type) == kind
