"""Drawing: a photograph with its faces marked: boxes, landmarks and a label each.

Draws with Pillow and the font inside it. Never decodes, never names a file, and never changes the pixels it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_COLOUR: Final = (45, 212, 191)
_SHADE: Final = (6, 24, 21)
_FONT_SHARE: Final = 55  # the text is this part of the picture's longer side
_MIN_FONT_PX: Final = 11


@dataclass(frozen=True, slots=True)
class Mark:
    """One face as it is drawn, in pixels of the picture: box (x1, y1, x2, y2), five points or none, lines of text."""

    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]
    lines: tuple[str, ...]


def annotate(pixels: NDArray[np.uint8], marks: Sequence[Mark]) -> NDArray[np.uint8]:
    """Draws marks on a copy of uint8 (H, W, 3) RGB pixels.

    Lines, points and text are sized to the picture; a label stands above its box, or under it where there is no room.
    """
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    side_px = max(picture.size)
    font = ImageFont.load_default(max(_MIN_FONT_PX, side_px // _FONT_SHARE))
    line_px = max(2, side_px // 400)
    for mark in marks:
        _frame(pen, mark, line_px)
    for mark in marks:  # over all boxes, so that no box strikes a label through
        _label(pen, mark, font, picture.size, line_px)
    return np.asarray(picture, np.uint8).copy()


def _frame(pen: ImageDraw.ImageDraw, mark: Mark, line_px: int) -> None:
    x1, y1, x2, y2 = mark.box
    if x2 <= x1 or y2 <= y1:
        return
    pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_SHADE, width=line_px + 2)
    pen.rectangle((x1, y1, x2, y2), outline=_COLOUR, width=line_px)
    radius = max(1.5, (x2 - x1) / 40)
    for x, y in mark.points:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_COLOUR, outline=_SHADE)


def _label(
    pen: ImageDraw.ImageDraw,
    mark: Mark,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    size: tuple[int, int],
    line_px: int,
) -> None:
    text = "\n".join(mark.lines)
    if not text:
        return
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
    pad = 2 * line_px
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(mark.box[0], 0), max(size[0] - width, 0))
    above = mark.box[1] - height - line_px
    y = above if above >= 0 else min(mark.box[3] + line_px, max(size[1] - height, 0))
    pen.rectangle((x, y, x + width, y + height), fill=_SHADE)
    pen.multiline_text((x + pad - left, y + pad - top), text, font=font, fill=_COLOUR)
