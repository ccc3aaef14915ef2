"""Files that are refused: empty, of another type, cut short, damaged, or far too large."""

import contextlib
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import BadRequest, TooLarge, UnreadableImage, UnsupportedImage
from service.imaging import DecodedImage, decode
from tests.service import pictures
from tests.service.pictures import opened, saved

MAX_PIXELS = 40_000_000


def read(data: bytes, max_side_px: int | None = None) -> DecodedImage:
    return decode(data, max_pixels=MAX_PIXELS, max_side_px=max_side_px)


def mean_difference(a: NDArray[np.uint8], b: Image.Image | NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(np.float64) - np.asarray(b, np.float64)).mean())


@pytest.fixture(scope="module")
def photo(astronaut_path: object) -> Image.Image:
    with Image.open(str(astronaut_path)) as picture:
        return picture.convert("RGB").crop((60, 0, 380, 250))


def test_no_bytes_are_a_malformed_request() -> None:
    """An empty file is 400 and says so."""
    with pytest.raises(BadRequest, match="empty"):
        read(b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"Dear service, this is a letter and no photograph.", "no image of a type"),
        (b"BMW is a make of cars, and these bytes are text", "no image of a type"),
        (b"\xff\xd8", "no image of a type"),
        (b"%PDF-1.7 and so on", "a PDF"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\0\x20ftypheic\0\0\0\0", "a HEIC picture"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "an AVIF picture"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"P6 2 2 255 abcdefghijkl", "no image of a type"),
    ],
)
def test_other_types_are_refused_by_their_first_bytes(data: bytes, message: str) -> None:
    """What is no allowed image is 415, with what it is where known and what is allowed."""
    with pytest.raises(UnsupportedImage, match=f"{message}.*JPEG, PNG, WebP, BMP, GIF and TIFF"):
        read(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_a_truncated_file_is_refused_and_never_filled_with_grey(photo: Image.Image, kind: str, share: float) -> None:
    """A file that ends early is 422 in every format, wherever it ends."""
    whole = saved(photo, kind)
    with pytest.raises(UnreadableImage, match=r"damaged|holds|no pixels"):
        read(whole[: int(len(whole) * share)])


def test_a_truncated_progressive_jpeg_is_refused_at_any_scale(six_faces: bytes) -> None:
    """A progressive JPEG whose last scans are missing is 422, scaled or not."""
    whole = saved(opened(six_faces), "JPEG", progressive=True)
    for wanted_px in (None, 320):
        with pytest.raises(UnreadableImage, match="cut off or damaged"):
            read(whole[: len(whole) * 9 // 10], wanted_px)


def test_the_detail_of_an_error_holds_nothing_of_the_library(photo: Image.Image) -> None:
    """A detail is our own sentence: no exception's text, no path, no module's name."""
    with pytest.raises(UnreadableImage) as caught:
        read(saved(photo, "PNG")[:2000])
    assert caught.value.detail == "The PNG is cut off or damaged and cannot be decoded whole."


def test_a_png_of_900_million_pixels_is_refused_without_decoding_it() -> None:
    """30,000 x 30,000 pixels in 100 kB are 413, and no memory is taken for them."""
    data = pictures.bomb_png()
    assert 90_000 < len(data) < 110_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match=r"30000 x 30000 pixels; at most 40 million"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_large_pictures_under_the_cap_raise_no_warning_of_the_library() -> None:
    """A picture that Pillow would call a decompression bomb is decoded where the cap allows it."""
    data = saved(Image.new("1", (10_000, 9_000)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, max_pixels=90_000_000).pixels.shape == (9_000, 10_000, 3)
        with pytest.raises(TooLarge):
            decode(data, max_pixels=89_999_999)


@pytest.mark.parametrize("size", [(20_000, 20_000), (16_383, 16_383)])
def test_the_pixel_cap_holds_for_every_format(size: tuple[int, int]) -> None:
    """A header that states too many pixels is 413 in JPEG, GIF, BMP, TIFF and WebP, before anything is decoded."""
    width, height = size
    jpeg = bytearray(saved(Image.new("L", (16, 16)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", height, width)
    gif = bytearray(saved(Image.new("L", (16, 16)), "GIF"))
    gif[6:10] = struct.pack("<HH", width, height)
    bmp = bytearray(saved(Image.new("L", (16, 16)), "BMP"))
    bmp[18:26] = struct.pack("<ll", width, height)
    tiff = saved(Image.new("L", (4097, 4098)), "TIFF", compression="tiff_lzw")
    for tag, was, value in ((256, 4097, width), (257, 4098, height)):
        tiff = tiff.replace(struct.pack("<HHLHH", tag, 3, 1, was, 0), struct.pack("<HHLL", tag, 4, 1, value))
    webp = b"RIFF\x20\0\0\0WEBPVP8X" + struct.pack("<LL", 10, 0)
    webp += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    for data in (bytes(jpeg), bytes(gif), bytes(bmp), tiff, webp):
        with pytest.raises(TooLarge, match=f"{width} x {height}"):
            read(data)


def test_a_header_of_no_pixels_is_refused() -> None:
    """A picture that states a width of 0 is 422."""
    with pytest.raises(UnreadableImage):
        read(pictures.png(0, 10))


def test_a_single_pixel_is_a_picture() -> None:
    """The smallest picture decodes."""
    assert read(saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")).pixels.tolist() == [[[1, 2, 3]]]


def test_random_damage_is_always_one_of_our_errors(photo: Image.Image) -> None:
    """Any byte of any format flipped gives a picture or one of our errors, and never another exception."""
    random = np.random.default_rng(0)
    small = photo.resize((64, 50))
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        whole = saved(small, kind)
        for _ in range(150):
            damaged = bytearray(whole)
            for place in random.integers(0, len(whole), random.integers(1, 8)):
                damaged[place] = random.integers(0, 256)
            with contextlib.suppress(TooLarge, UnsupportedImage, UnreadableImage):
                assert read(bytes(damaged), 32).pixels.ndim == 3
