"""JPEGs as cameras and phones write them, straight from bytes to RGB pixels by libjpeg-turbo.

Pillow decodes by the same library to the same pixels, and then copies them twice under the interpreter's lock: a third
of the time of a photograph of 12 megapixels. Holds no verdict on a file: whatever is unusual or damaged is None here,
and Pillow's to read or refuse. Never scales other than in the transform domain.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_SPACES: Final = ("YCbCr", "Gray", "RGB")  # inks are Pillow's: whether they are inverted depends on Adobe's mark


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG whose header was read.

    Attributes:
        body: the file's bytes.
        size: width and height that it states.
    """

    body: bytes
    size: tuple[int, int]

    def decode(self, divisor: int) -> NDArray[np.uint8] | None:
        """The picture as it is stored, uint8 (H, W, 3) RGB; grey ones with three equal channels.

        Args:
            divisor: 1, 2, 4 or 8: by which both sides are made smaller, rounded up.

        Returns:
            None where anything at all is wrong with the file.
        """
        width, height = (math.ceil(side / divisor) for side in self.size)
        try:
            pixels = simplejpeg.decode_jpeg(self.body, "RGB", min_height=height, min_width=width, min_factor=divisor)
        except ValueError:
            return None
        return pixels if pixels.shape == (height, width, 3) else None


def read_jpeg(body: bytes) -> Jpeg | None:
    """Reads a JPEG's header; None where it is damaged, or of a kind that is better left to Pillow."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(body)
    except ValueError:
        return None
    return Jpeg(body, (width, height)) if space in _SPACES else None
