"""The readers of file structure, on files made to cost a decoder more memory or time than a photograph ever does."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.containers import exif_orientation, strip, webp_size
from service.errors import UnreadableImage
from service.imaging import decode
from tests.service import pictures
from tests.service.pictures import saved


@pytest.fixture(scope="module")
def small() -> Image.Image:
    ramp = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3) * 7 % 251
    return Image.fromarray(ramp.astype(np.uint8))


def peak_bytes(act: Callable[[], object]) -> int:
    """The most memory that Python held while `act` ran, whether it raised or not."""
    tracemalloc.start()
    try:
        act()
    except UnreadableImage:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_an_exif_of_overlapping_tags_costs_no_memory(small: Image.Image) -> None:
    """A JPEG of 40 kB whose EXIF tags would unpack to 60 MB is decoded in its own size."""
    block = b"Exif\0\0" + pictures.tag_bomb(2000, 30_000)
    jpeg = pictures.with_segment(saved(small, "JPEG"), 0xE1, block)
    assert peak_bytes(lambda: decode(jpeg, max_pixels=10_000)) < 2_000_000
    assert decode(jpeg, max_pixels=10_000).width == 64


def test_exif_of_overlapping_tags_costs_no_memory_in_png_or_webp(small: Image.Image) -> None:
    """The same in a PNG's eXIf chunk and a WebP's EXIF chunk."""
    block = pictures.tag_bomb(2000, 100_000)
    for kind in ("PNG", "WEBP"):
        data = saved(small, kind, exif=block)
        assert len(data) > 100_000
        assert peak_bytes(lambda data=data: decode(data, max_pixels=10_000)) < 3_000_000  # type: ignore[misc]


def test_a_tiff_of_overlapping_tags_is_refused(small: Image.Image) -> None:
    """A TIFF whose directory states more data than the file holds is 422, in its own size of memory."""
    data = pictures.tag_bomb(2000, 100_000)
    assert peak_bytes(lambda: decode(data, max_pixels=10_000)) < 1_000_000
    with pytest.raises(UnreadableImage, match="more data than the file holds"):
        decode(data, max_pixels=10_000)


def test_a_tiff_of_giant_tiles_is_refused(small: Image.Image) -> None:
    """Tiles far larger than the picture would be allocated whole by a decoder."""
    entries = ((256, 4, 1, 64), (257, 4, 1, 48), (322, 4, 1, 65_536), (323, 4, 1, 65_536))
    data = b"II*\0" + struct.pack("<LH", 8, 4) + b"".join(struct.pack("<HHLL", *entry) for entry in entries) + bytes(4)
    with pytest.raises(UnreadableImage, match="tiles"):
        decode(data, max_pixels=10_000)


def test_compressed_text_in_a_png_is_never_unpacked(small: Image.Image) -> None:
    """50 MB of text in a chunk of 50 kB cost nothing, and the picture is decoded."""
    text = pictures.png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9))
    whole = saved(small, "PNG")
    data = whole[:33] + text + whole[33:]
    assert peak_bytes(lambda: decode(data, max_pixels=10_000)) < 2_000_000
    assert (decode(data, max_pixels=10_000).pixels == np.asarray(small)).all()


def test_a_jpeg_of_countless_scans_is_refused(small: Image.Image) -> None:
    """Each scan of a progressive JPEG costs a pass over the whole picture."""
    whole = saved(small, "JPEG", progressive=True)
    scan = whole[whole.index(b"\xff\xda") : -2]
    with pytest.raises(UnreadableImage, match="scans"):
        decode(whole[:-2] + scan * 600, max_pixels=10_000)


def test_a_sequential_jpeg_of_countless_scans_is_refused_too(small: Image.Image) -> None:
    """Scans of single components are kept until the last has come; one that holds all components is followed by none.

    A scan of a sequential picture that claims one of its three components stands for the former.
    """
    whole = saved(small, "JPEG")
    start = whole.index(b"\xff\xda")
    assert (whole[start + 4], strip(whole, "JPEG")[1]) == (3, 1)
    single = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + whole[start + 14 : -2]
    with pytest.raises(UnreadableImage, match="scans"):
        decode(whole[:start] + single * 600 + b"\xff\xd9", max_pixels=10_000)


def test_metadata_goes_and_the_picture_stays(small: Image.Image) -> None:
    """Stripping takes EXIF, profiles, comments and text, and leaves what bears on pixels."""
    exif = Image.Exif()
    exif[0x0112] = 8
    jpeg, orientation = strip(saved(small, "JPEG", exif=exif, comment=b"secret", icc_profile=b"profile" * 50), "JPEG")
    assert orientation == 8
    assert not any(word in jpeg for word in (b"Exif", b"secret", b"profile"))
    png, orientation = strip(saved(small, "PNG", exif=exif, icc_profile=b"profile" * 50), "PNG")
    assert orientation == 8
    assert b"eXIf" not in png
    assert b"iCCP" not in png


def test_a_photograph_with_a_second_picture_inside_is_one_photograph(small: Image.Image) -> None:
    """A phone's JPEG with a depth map or gain map behind it (MPO) gives its first picture."""
    second = Image.new("RGB", (16, 16), (0, 0, 255))
    mpo = saved(small, "MPO", save_all=True, append_images=[second])
    assert decode(mpo, max_pixels=10_000).pixels.shape == (48, 64, 3)


def test_fill_bytes_between_segments_are_skipped(small: Image.Image) -> None:
    """The standard allows any number of FF before a marker."""
    whole = saved(small, "JPEG")
    padded = whole[:2] + b"\xff\xff\xff" + whole[2:]
    assert decode(padded, max_pixels=10_000).width == 64


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"quality": 80, "exif": b"Exif\0\0II*\0"}])
def test_the_size_of_every_kind_of_webp_is_read(small: Image.Image, options: dict[str, object]) -> None:
    """Lossy, lossless and extended files state their size in three ways."""
    assert webp_size(saved(small, "WEBP", **options)) == (64, 48)


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01"],
)
def test_broken_exif_means_upright(block: bytes) -> None:
    """An EXIF block that ends anywhere states no orientation."""
    assert exif_orientation(block) == 1
