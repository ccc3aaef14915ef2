"""Face masks: everything but the face blurred away, by a mask that a face parser made, as face_analysis_pytorch offers.

A mask names each pixel's part in the order of CelebAMask-HQ, in which BiSeNet answers: 0 background, 1 skin, 2 to 6
brows, eyes and glasses, 7 to 9 ears and earrings, 10 nose, 11 to 13 mouth, 14 and up neck, clothes, hair, hat. Source:
the behaviour of `blur_image` in github.com/vitoralbiero/face_analysis_pytorch, utils/image_utils.py (MIT). Never parses
a face. Shape suffixes: H, W image height and width; C channels.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.training.data_error import DataError
from model.training.prepare.rows import BadRow, FaceRow, ImageSource

FACE_PARTS: Final = (1, 2, 3, 4, 5, 6, 10, 11, 12, 13)
MOST_BLUR_PX: Final = 10.0
_EDGE_PX: Final = 5.0  # standard deviation of the soft border between face and what is around it
_STEPS: Final = 10  # levels of softness a pixel of blur
_POWER: Final = 4  # of the curve: little blur close to the face, all of it a little further off
_QUALITY: Final = 95
_ORIENTATION: Final = 0x0112  # EXIF


@dataclass(frozen=True, slots=True)
class MaskedImage:
    """An image whose surroundings are blurred by a mask in a file of its own, of the image's size."""

    image: ImageSource
    mask: Path

    def read(self) -> bytes:
        """The blurred image as WebP, turned as the image was: what a set states of its pixels holds of these too.

        Raises:
            OSError: if the image or its mask cannot be read, or they are of two sizes.
        """
        try:
            with Image.open(io.BytesIO(self.image.read())) as picture, Image.open(self.mask) as parts:
                if picture.size != parts.size:
                    raise OSError(f"its mask has {parts.size} pixels and it {picture.size}")
                turn = Image.Exif()
                turn[_ORIENTATION] = picture.getexif().get(_ORIENTATION, 1)
                pixels = blur_around_face(np.asarray(picture.convert("RGB")), np.asarray(parts.convert("L")))
        except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise OSError(str(error)) from error
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "WEBP", quality=_QUALITY, exif=turn)
        return file.getvalue()


def with_masks(rows: Iterator[FaceRow | BadRow], masks: Path | None) -> Iterator[FaceRow | BadRow]:
    """Rows whose images are blurred around the face; as they are where no folder of masks is given.

    A row whose mask is missing becomes one that is left out.
    """
    for row in rows:
        if masks is None or isinstance(row, BadRow):
            yield row
        elif (mask := mask_of(masks, row.name)).is_file():
            yield replace(row, image=MaskedImage(row.image, mask))
        else:
            yield BadRow(row.name, "no such mask", str(mask))


def mask_of(masks: Path, name: str) -> Path:
    """Where the mask of an image is: `MASKS/NAME_mask.png`, NAME being the image's path without its ending."""
    return masks / Path(name).with_suffix("").with_name(f"{Path(name).stem}_mask.png")


def blur_around_face(
    pixels_HWC: NDArray[np.uint8], parts_HW: NDArray[np.uint8], most_blur_px: float = MOST_BLUR_PX
) -> NDArray[np.uint8]:
    """Blurs each pixel the more, the less it is of the face.

    With f the face's own mask, 0 or 1, smoothed by a Gaussian of 5 pixels and brought to a largest value of 1, and
    b = most * (1 - f) in steps of a tenth, a pixel is that of the image under a Gaussian of b^4 / most^3.

    Args:
        pixels_HWC: uint8, RGB.
        parts_HW: uint8, each pixel's part of the face; see the module.
        most_blur_px: the Gaussian's standard deviation far from the face.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DataError: if scipy is missing.
    """
    smooth = _gaussian()
    face_HW = smooth(np.isin(parts_HW, FACE_PARTS).astype(np.float64), _EDGE_PX)
    face_HW /= max(face_HW.max(), np.finfo(np.float64).tiny)
    away_HW = np.rint((1 - face_HW) * most_blur_px * _STEPS).astype(np.int64)
    blurred_HWC = pixels_HWC.copy()
    for step in np.unique(away_HW):
        sigma_px = (step / _STEPS) ** _POWER / most_blur_px ** (_POWER - 1)
        if sigma_px > 0:
            here_HW = away_HW == step
            whole_HWC = smooth(pixels_HWC.astype(np.float64), (sigma_px, sigma_px, 0.0))
            blurred_HWC[here_HW] = np.rint(whole_HWC[here_HW]).astype(np.uint8)
    return blurred_HWC


def _gaussian() -> Callable[[NDArray[np.float64], Any], NDArray[np.float64]]:
    try:
        from scipy.ndimage import gaussian_filter
    except ModuleNotFoundError as error:
        raise DataError("scipy is missing; install the prepare extra: pip install 'mien[train,prepare]'") from error
    found: Callable[[NDArray[np.float64], Any], NDArray[np.float64]] = gaussian_filter
    return found
