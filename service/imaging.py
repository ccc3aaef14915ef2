"""Images: from a file's bytes to upright RGB pixels, and from pixels to a JPEG.

The one place where the service decodes: a usual JPEG by `service.jpeg`, all else by Pillow. Decoding releases the
interpreter lock, so threads decode side by side. Never reads a file name or a declared type, never applies a colour
profile, never touches the disk, and never tells a client what the decoding library said.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageChops, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL import WebPImagePlugin as _WebPImagePlugin

from service.containers import Format, sniff, strip, webp_size
from service.errors import BadRequest, ServiceError, TooLarge, UnreadableImage
from service.jpeg import read_jpeg

# Imported for their registration: Pillow would otherwise load every format it knows at the first TIFF or WebP.
_PLUGINS: Final = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, _WebPImagePlugin)
_NAMES: Final = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "BMP": "BMP", "GIF": "GIF", "TIFF": "TIFF"}
_UPRIGHT: Final[dict[int, Callable[[NDArray[np.uint8]], cv2.typing.MatLike]]] = {
    # EXIF orientation: what makes it upright (CIPA DC-008, 4.6.4)
    2: lambda stored: cv2.flip(stored, 1),
    3: lambda stored: cv2.rotate(stored, cv2.ROTATE_180),
    4: lambda stored: cv2.flip(stored, 0),
    5: cv2.transpose,
    6: lambda stored: cv2.rotate(stored, cv2.ROTATE_90_CLOCKWISE),
    7: lambda stored: cv2.rotate(cv2.transpose(stored), cv2.ROTATE_180),
    8: lambda stored: cv2.rotate(stored, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_FIRST_TURNED: Final = 5  # orientations from here on swap width and height
_TIFF_BITS: Final = 258
_TIFF_PHOTOMETRIC: Final = 262
_JPEG_QUALITY: Final = 90

# Pillow would load the rest of its usual plugins at the first picture; where descriptors have run out by then, that
# picture could not be opened, and would be called damaged.
Image.preinit()
# `decode` has its own cap, checked on the header; Pillow's would warn at one size and raise at another.
Image.MAX_IMAGE_PIXELS = None
# Oddities of metadata are no news to an operator, and the sender is answered by status.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """An upright picture.

    Attributes:
        pixels: uint8 (H, W, 3), RGB, contiguous and writeable; scaled down by `scale` where that saved decoding.
        width: pixels across the upright full-size picture.
        height: pixels down the upright full-size picture.
        scale: 1, 1/2, 1/4 or 1/8: a point of the full-size picture times `scale` is its point in `pixels`.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    scale: float


def decode(data: bytes, *, max_pixels: int, max_side_px: int | None = None) -> DecodedImage:
    """Decodes a JPEG, PNG, WebP, BMP, GIF (first frame) or TIFF (first page) into upright RGB.

    Transparent pixels are shown on white, 16-bit ones scaled to 8 bits, CMYK turned to RGB without a profile. Safe in
    several threads at once.

    Args:
        data: the file's bytes; they alone decide the format.
        max_pixels: width times height above which the picture is refused before it is decoded.
        max_side_px: the longer side that the caller needs; a JPEG is decoded at 1/2, 1/4 or 1/8 while that keeps
            at least this many pixels.

    Raises:
        BadRequest: if there are no bytes.
        UnsupportedImage: if the bytes are none of the allowed formats.
        TooLarge: if the picture has more pixels than `max_pixels`.
        UnreadableImage: if it is truncated, damaged, or of a pixel type without a fixed range.
    """
    if not data:
        raise BadRequest("The image is empty: it has no bytes.")
    kind = sniff(data)
    body, orientation = strip(data, kind)
    if kind == "WEBP":
        _check_size(webp_size(data), max_pixels)
    try:
        stored, size, scale = _load(body, kind, max_pixels, max_side_px)
    except ServiceError:
        raise
    except Exception as error:  # decoders raise a dozen types on damaged bytes, and none of them is ours to answer with
        raise UnreadableImage(f"The {_NAMES[kind]} is cut off or damaged and cannot be decoded whole.") from error
    pixels = np.asarray(_UPRIGHT[orientation](stored), np.uint8) if orientation in _UPRIGHT else stored
    width, height = size if orientation < _FIRST_TURNED else size[::-1]
    return DecodedImage(pixels, width, height, scale)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = _JPEG_QUALITY) -> bytes:
    """Encodes uint8 (H, W, 3) RGB pixels as a baseline JPEG."""
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, "JPEG", quality=quality)
    return target.getvalue()


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise UnreadableImage("The image has no pixels.")
    if width * height > max_pixels:
        raise TooLarge(f"The image has {width} x {height} pixels; at most {max_pixels / 1e6:g} million are taken.")


def _load(
    body: bytes, kind: Format, max_pixels: int, max_side_px: int | None
) -> tuple[NDArray[np.uint8], tuple[int, int], float]:
    """The first frame in RGB as it is stored, the full size it states, and the scale it was decoded at."""
    if kind == "JPEG" and (jpeg := read_jpeg(body)) is not None:
        _check_size(jpeg.size, max_pixels)
        divisor = _divisor(max(jpeg.size), max_side_px)
        if (decoded := jpeg.decode(divisor)) is not None:
            return decoded, jpeg.size, 1 / divisor
    with Image.open(io.BytesIO(body), formats=[kind]) as image:
        size = image.size
        _check_size(size, max_pixels)
        divisor = _divisor(max(size), max_side_px) if kind == "JPEG" else 1
        if divisor > 1:
            image.draft(None, (max(size[0] // divisor, 1), max(size[1] // divisor, 1)))
            divisor = round(max(size) / max(image.size))  # a picture a few pixels thin is scaled less than asked
        image.load()
        if kind != "JPEG":
            size = image.size  # a frame may prove larger than the header said
            _check_size(size, max_pixels)
        return np.array(_to_rgb(image), np.uint8), size, 1 / divisor


def _divisor(side_px: int, wanted_px: int | None) -> int:
    """By how much libjpeg can scale a side down in the transform domain and keep `wanted_px`."""
    if wanted_px is None:
        return 1
    return next(divisor for divisor in (8, 4, 2, 1) if side_px // divisor >= wanted_px or divisor == 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise UnreadableImage("The image has 32 bits a channel, which have no fixed range; send 8 or 16 bits.")
    if image.mode.startswith("I;16"):
        return _scaled_from_16_bits(image)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled_from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (12 in some TIFFs) to 8, rounded; Pillow's own conversion would clip at 255."""
    tags = getattr(image, "tag_v2", {})
    full = 4095 if tags.get(_TIFF_BITS) == (12,) else 65535
    grey = (np.asarray(image).astype(np.uint32) * 255 + full // 2) // full
    if tags.get(_TIFF_PHOTOMETRIC) == 0:  # white is zero, which Pillow inverts only up to 8 bits
        grey = 255 - grey
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _from_cmyk(image: Image.Image) -> Image.Image:
    """CMYK to RGB. Pillow takes every CMYK JPEG for Adobe's, stored inverted; one without Adobe's mark is not."""
    if image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Shows transparency on white; a picture that is transparent everywhere has an unused channel, which is dropped."""
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (0, 0):
        return rgba.convert("RGB")
    page = Image.new("RGB", rgba.size, (255, 255, 255))
    page.paste(rgba, (0, 0), rgba)
    return page
