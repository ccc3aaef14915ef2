"""Decoding, on real photographs written in every format, orientation and pixel type."""

import concurrent.futures
import io
import math
import struct
import threading

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.errors import UnreadableImage
from service.imaging import DecodedImage, decode, encode_jpeg
from service.jpeg import read_jpeg
from tests.service import pictures
from tests.service.pictures import opened, oriented, saved

MAX_PIXELS = 40_000_000


def read(data: bytes, max_side_px: int | None = None) -> DecodedImage:
    return decode(data, max_pixels=MAX_PIXELS, max_side_px=max_side_px)


def mean_difference(a: NDArray[np.uint8], b: Image.Image | NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(np.float64) - np.asarray(b, np.float64)).mean())


@pytest.fixture(scope="module")
def photo(astronaut_path: object) -> Image.Image:
    with Image.open(str(astronaut_path)) as picture:
        return picture.convert("RGB").crop((60, 0, 380, 250))


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 2.5),
        ("JPEG", {"quality": 95, "progressive": True}, 2.5),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 3),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 3),
    ],
)
def test_every_allowed_format_comes_back_as_the_same_picture(
    photo: Image.Image, kind: str, options: dict[str, object], tolerance: float
) -> None:
    """JPEG, PNG, WebP, BMP and TIFF decode to the written pixels: uint8 RGB, contiguous, writeable, full size."""
    image = read(saved(photo, kind, **options))
    assert image.pixels.shape == (250, 320, 3)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous
    assert image.pixels.flags.writeable
    assert (image.width, image.height, image.scale) == (320, 250, 1)
    assert mean_difference(image.pixels, photo) <= tolerance


def test_a_gif_and_an_animated_webp_give_their_first_frame(photo: Image.Image) -> None:
    """Of an animation the first frame is answered, not the last and not a blend."""
    second = Image.new("RGB", photo.size, (0, 0, 255))
    gif = saved(photo.quantize(256), "GIF", save_all=True, append_images=[second], duration=100)
    webp = saved(photo, "WEBP", save_all=True, append_images=[second], duration=100, lossless=True)
    assert mean_difference(read(gif).pixels, photo) < 8
    assert mean_difference(read(webp).pixels, photo) == 0


def test_an_animated_png_gives_its_default_picture(photo: Image.Image) -> None:
    """An APNG decodes to the picture that a viewer without animation shows."""
    second = Image.new("RGB", photo.size, (0, 0, 255))
    apng = saved(photo, "PNG", save_all=True, append_images=[second], duration=100)
    assert b"acTL" in apng
    assert mean_difference(read(apng).pixels, photo) == 0


def test_a_tiff_of_several_pages_gives_its_first(photo: Image.Image) -> None:
    """Of several pages the first is answered."""
    second = Image.new("RGB", (50, 60), (0, 0, 255))
    assert mean_difference(read(saved(photo, "TIFF", save_all=True, append_images=[second])).pixels, photo) == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(photo: Image.Image, kind: str, orientation: int) -> None:
    """Pixels, width and height are those of the upright picture, whichever of the eight ways it was stored."""
    image = read(oriented(photo, orientation, kind))
    assert (image.width, image.height) == (320, 250)
    assert image.pixels.shape == (250, 320, 3)
    assert mean_difference(image.pixels, photo) < 6


def test_orientation_in_big_endian_exif_is_read_too(photo: Image.Image) -> None:
    """Cameras write EXIF in either byte order."""
    block = b"Exif\0\0MM\0*" + struct.pack(">LHHHLHH", 8, 1, 0x0112, 3, 1, 6, 0) + bytes(4)
    stored = saved(photo.transpose(Image.Transpose.ROTATE_90), "JPEG")
    image = read(pictures.with_segment(stored, 0xE1, block))
    assert (image.width, image.height) == (320, 250)
    assert mean_difference(image.pixels, photo) < 6


@pytest.mark.parametrize("stated", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(photo: Image.Image, stated: int) -> None:
    """A stated orientation outside 1 to 8 leaves the picture as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = stated
    assert read(saved(photo, "JPEG", exif=exif)).pixels.shape == (250, 320, 3)


@pytest.mark.parametrize(
    ("wanted_px", "scale"), [(None, 1), (1280, 1), (641, 1), (640, 1 / 2), (320, 1 / 4), (160, 1 / 8), (1, 1 / 8)]
)
def test_a_jpeg_is_decoded_scaled_down_and_never_below_what_is_needed(
    six_faces: bytes, wanted_px: int | None, scale: float
) -> None:
    """The longer side keeps at least `max_side_px`; width and height stay those of the full picture."""
    image = read(six_faces, wanted_px)
    assert image.scale == scale
    assert (image.width, image.height) == (1280, 886)
    assert image.pixels.shape == (math.ceil(886 * scale), int(1280 * scale), 3)
    height, width = image.pixels.shape[:2]
    whole = opened(six_faces).resize((width, height), Image.Resampling.BOX)
    assert mean_difference(image.pixels, whole) < 4


def test_a_scaled_jpeg_that_lies_on_its_side_is_upright_too(six_faces: bytes) -> None:
    """Scaling while decoding and orientation work together."""
    image = read(oriented(opened(six_faces), 6), 640)
    assert (image.width, image.height, image.scale) == (1280, 886, 0.5)
    assert image.pixels.shape == (443, 640, 3)


def test_only_jpegs_are_scaled_while_decoding(photo: Image.Image) -> None:
    """A PNG comes at full size, whatever is needed."""
    assert read(saved(photo, "PNG"), 20).scale == 1


def test_a_very_thin_jpeg_survives_scaling() -> None:
    """A picture of 3 by 1,000 pixels is not scaled to nothing."""
    image = read(saved(Image.new("RGB", (3, 1000), (200, 30, 30)), "JPEG"), 50)
    assert (image.width, image.height) == (3, 1000)
    assert image.pixels.shape[0] == 1000 * image.scale
    assert image.pixels.shape[1] >= 1


def test_a_cmyk_jpeg_has_the_colours_of_the_picture(photo: Image.Image) -> None:
    """Adobe's inverted CMYK is turned back, and is no negative."""
    jpeg = saved(photo.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in jpeg
    assert mean_difference(read(jpeg).pixels, photo) < 5
    assert mean_difference(read(jpeg, 160).pixels, photo.resize((160, 125), Image.Resampling.BOX)) < 5


def test_a_cmyk_jpeg_without_adobes_mark_is_not_inverted(photo: Image.Image) -> None:
    """Plain CMYK, where 0 is no ink, gives the colours of the picture too."""
    inks = Image.merge("CMYK", [ImageOps.invert(channel) for channel in photo.convert("CMYK").split()])
    plain = pictures.without_segment(saved(inks, "JPEG", quality=95), 0xEE)
    assert b"Adobe" not in plain
    assert mean_difference(read(plain).pixels, photo) < 5


def test_a_ycck_jpeg_has_the_colours_of_the_picture(photo: Image.Image) -> None:
    """YCCK, which Photoshop writes, is turned to RGB: luma and chroma of the inks, stored inverted as Adobe does."""
    luma_chroma = ImageOps.invert(photo).convert("YCbCr").split()
    # Pillow writes CMYK inverted, so each plane goes in inverted; then Adobe's mark is made to say YCCK.
    planes = [ImageOps.invert(plane) for plane in luma_chroma]
    jpeg = saved(Image.merge("CMYK", [*planes, Image.new("L", photo.size, 0)]), "JPEG", quality=98)
    transform = jpeg.index(b"Adobe") + 11
    assert jpeg[transform] == 0
    assert mean_difference(read(jpeg[:transform] + b"\x02" + jpeg[transform + 1 :]).pixels, photo) < 6


def test_grey_of_16_bits_is_scaled_and_not_clipped(photo: Image.Image) -> None:
    """A 16-bit grey PNG and TIFF give the 8-bit picture they were made from."""
    grey = np.asarray(photo.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for kind in ("PNG", "TIFF"):
        pixels = read(saved(deep, kind)).pixels
        assert (pixels == grey[:, :, None]).all(), kind


def test_rgb_of_16_bits_is_scaled_and_not_clipped(photo: Image.Image) -> None:
    """A PNG of 48 bits a pixel gives the 8-bit picture it was made from."""
    assert mean_difference(read(pictures.png_16_bit_rgb(np.asarray(photo))).pixels, photo) == 0


def test_grey_where_white_is_zero_is_no_negative(photo: Image.Image) -> None:
    """A 16-bit TIFF of the photometric kind WhiteIsZero is turned the right way round."""
    grey = np.asarray(photo.convert("L"))
    tiff = saved(Image.fromarray((255 - grey).astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0})
    assert mean_difference(read(tiff).pixels[:, :, 0], grey) < 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_32_bits_are_refused_clearly(dtype: type) -> None:
    """Floats and 32-bit integers have no fixed range, and the answer says what to send."""
    tiff = saved(Image.fromarray(np.arange(400, dtype=dtype).reshape(20, 20)), "TIFF")
    with pytest.raises(UnreadableImage, match=r"32 bits a channel.*send 8 or 16"):
        read(tiff)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_shown_on_white(photo: Image.Image, kind: str) -> None:
    """What is transparent is white, what is opaque keeps its colour, what is half is between."""
    rgba = photo.convert("RGBA")
    alpha = Image.new("L", photo.size, 255)
    alpha.paste(0, (0, 0, 100, 250))
    alpha.paste(128, (100, 0, 200, 250))
    rgba.putalpha(alpha)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels = read(saved(rgba, kind, **options)).pixels
    assert (pixels[:, :100] == 255).all()
    assert mean_difference(pixels[:, 200:], np.asarray(photo)[:, 200:]) < 1
    between = np.asarray(photo)[:, 100:200] * (128 / 255) + 255 * (127 / 255)
    assert mean_difference(pixels[:, 100:200], between.astype(np.uint8)) < 2


@pytest.mark.parametrize("entry", ["one", "each"])
def test_a_palette_with_transparency_is_shown_on_white(entry: str) -> None:
    """A palette PNG or GIF whose entry is transparent, by index or by a table, decodes without a warning."""
    picture = Image.new("P", (40, 30), 1)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.paste(0, (0, 0, 20, 30))
    transparency = 0 if entry == "one" else bytes([0, 255])
    pixels = read(saved(picture, "PNG", transparency=transparency)).pixels
    assert (pixels[:, :20] == 255).all()
    assert (pixels[:, 20:] == (200, 100, 50)).all()


def test_an_alpha_channel_that_hides_everything_is_dropped(photo: Image.Image) -> None:
    """Some programs leave the fourth channel at zero and mean no transparency by it."""
    rgba = photo.convert("RGBA")
    rgba.putalpha(0)
    assert mean_difference(read(saved(rgba, "PNG")).pixels, photo) == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_other_pixel_types_become_rgb(photo: Image.Image, mode: str) -> None:
    """One bit, grey, grey with alpha and palettes give RGB like Pillow's own view of them."""
    picture = photo.convert(mode)
    assert mean_difference(read(saved(picture, "PNG")).pixels, picture.convert("RGB")) == 0


def test_decoding_lets_other_threads_run_and_gives_the_same_in_each(six_faces: bytes) -> None:
    """Eight decodings at once in four threads give the same pixels as one alone."""
    alone = read(six_faces).pixels
    started = threading.Barrier(4, timeout=30)

    def together(turn: int) -> bool:
        if turn < 4:
            started.wait()
        return bool((read(six_faces).pixels == alone).all())

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(together, range(8)))


def test_an_encoded_jpeg_is_the_picture(photo: Image.Image) -> None:
    """`encode_jpeg` writes a JPEG that decodes to nearly the same pixels, from a view as well."""
    pixels = np.asarray(photo, np.uint8)[:, ::-1]
    data = encode_jpeg(pixels)
    assert data.startswith(b"\xff\xd8\xff")
    with Image.open(io.BytesIO(data)) as picture:
        assert mean_difference(pixels, picture) < 4


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["baseline", "progressive", "grey", "4:4:4", "red, green and blue"])
def test_a_usual_jpeg_has_the_pixels_that_pillow_gives_it(six_faces: bytes, kind: str, divisor: int) -> None:
    """libjpeg-turbo, asked directly, gives Pillow's own pixels at every scale, whatever kind of JPEG a camera wrote."""
    picture = opened(six_faces).crop((0, 0, 1279, 881))
    options: dict[str, dict[str, object]] = {
        "progressive": {"progressive": True},
        "4:4:4": {"subsampling": 0},
        "red, green and blue": {"keep_rgb": True},
    }
    data = saved(picture.convert("L") if kind == "grey" else picture, "JPEG", **options.get(kind, {}))
    jpeg = read_jpeg(data)
    assert jpeg is not None
    pixels = jpeg.decode(divisor)
    with Image.open(io.BytesIO(data)) as stored:
        stored.draft(None, (1279 // divisor, 881 // divisor))
        assert pixels is not None
        assert np.array_equal(pixels, np.asarray(stored.convert("RGB")))


def test_a_cmyk_or_damaged_jpeg_is_left_to_pillow(photo: Image.Image) -> None:
    """Inks, a file that is cut off, and bytes that only begin like a JPEG are none that is decoded directly."""
    whole = saved(photo, "JPEG")
    cut = read_jpeg(whole[: len(whole) // 2])
    assert cut is not None
    assert cut.decode(1) is None
    assert read_jpeg(saved(photo.convert("CMYK"), "JPEG")) is None
    assert read_jpeg(b"\xff\xd8\xff") is None
