"""Uploads: from a request's body to the images in it, held in memory and counted as they come.

Multipart is parsed while it streams in, by python-multipart's low-level parser: a framework's form parser would spool
parts to the disk. Never touches the disk, never believes a part's declared type or file name, never decodes an image.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.analysis import Upload
from service.errors import BadRequest, TooLarge, UnknownOption, UnreadableImage, UnsupportedImage
from service.names import nearest

MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"
_MAX_NAME: Final = 255
Grow = Callable[[int], None]


@dataclass(slots=True)
class Part:
    """A part of a multipart body: the field's name, the file's name if there is one, and its bytes."""

    name: str = ""
    filename: str | None = None
    data: bytearray = field(default_factory=bytearray)

    def upload(self) -> Upload:
        """The part as an image."""
        return Upload(bytes(self.data), self.filename)


class PartReader:
    """Collects the parts of a multipart body, and refuses one part too many when its headers come.

    Args:
        boundary: from the content type.
        fields: names that a part may have.
        max_parts: parts at most.
        grow: told 1 for each part after the first, before its bytes are kept; may refuse by raising.
    """

    def __init__(self, boundary: bytes, fields: Collection[str], max_parts: int, grow: Grow) -> None:
        self._fields, self._max_parts, self._grow = fields, max_parts, grow
        self.parts: list[Part] = []
        self._header, self._value = b"", b""
        self._part = Part()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes of the body."""
        self._parser.write(chunk)

    def finish(self) -> list[Part]:
        """The parts, once the body has come whole.

        Raises:
            BadRequest: if it ended before its closing boundary.
        """
        if not self._ended:
            raise BadRequest("The multipart body ends before its closing boundary.")
        return self.parts

    def _on_begin(self) -> None:
        self._part = Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
            name = options.get(b"filename")
            self._part.filename = None if name is None else name.decode("utf-8", "replace")[:_MAX_NAME]
        self._header, self._value = b"", b""

    def _on_headers(self) -> None:
        if self._part.name not in self._fields:
            raise UnknownOption(f"Unknown field {nearest(self._part.name, self._fields)}")
        if len(self.parts) == self._max_parts:
            raise TooLarge(f"More than {self._max_parts} images in one request.")
        if self.parts:
            self._grow(1)
        self.parts.append(self._part)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._part.data += data[start:end]

    def _on_end(self) -> None:
        self._ended = True


async def read_multipart(
    content_type: str, chunks: AsyncIterator[bytes], fields: Collection[str], max_parts: int, grow: Grow
) -> list[Part]:
    """Reads a multipart body while it comes in.

    Raises:
        BadRequest: if it is not well formed.
        UnknownOption: if a part has another field name than `fields`.
        TooLarge: if it has more than `max_parts` parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadRequest("The content type multipart/form-data names no boundary.")
    try:
        reader = PartReader(boundary, fields, max_parts, grow)
        async for chunk in chunks:
            reader.feed(chunk)
    except FormParserError:
        raise BadRequest("The multipart body is not well formed.") from None
    return reader.finish()


async def read_whole(chunks: AsyncIterator[bytes]) -> bytes:
    """Reads a body whole.

    Raises:
        BadRequest: if it is empty.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
    if not body:
        raise BadRequest("The body is empty.")
    return bytes(body)


def parse_object(body: bytes, fields: Collection[str]) -> dict[str, object]:
    """Parses a JSON object whose keys are among `fields`.

    Raises:
        BadRequest: if it is not JSON, or no object.
        UnknownOption: if it has another key.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object.")
    for key in value:
        if key not in fields:
            raise UnknownOption(f"Unknown field {nearest(key, fields)}")
    return value


def from_base64(text: object, what: str) -> Upload:
    """An image in base64; text that is none makes an upload that carries the error, so that the others are answered.

    Raises:
        BadRequest: if it is no text at all.
    """
    if not isinstance(text, str):
        raise BadRequest(f"{what} must be a string of base64.")
    try:
        return Upload(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return Upload(b"", error=UnreadableImage(f"{what} is not base64."))


def kind_of(content_type: str) -> str:
    """The bare type of a content type, in lower case: `multipart/form-data`, `application/json`, `image/jpeg`."""
    return content_type.split(";", 1)[0].strip().lower()


def unsupported(kind: str, *taken: str) -> UnsupportedImage:
    """The refusal of a body's type, naming those that the route takes."""
    return UnsupportedImage(f"The body is {kind or 'of no stated type'}; taken here: {', '.join(taken)}.")
