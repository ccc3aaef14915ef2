"""Scales: at which sizes a detector looks at a picture, as a pack states them and a person writes them.

Holds which there may be. Never looks at a picture (see `model.runtime.passes`).
"""

from typing import Annotated, Final

from pydantic import AfterValidator

ONE_SCALE: Final = (1.0,)
_SMALL: Final = (0.25, 0.75)  # bounds of a scale under one
_MOST_TILES: Final = 4


def check_scales(scales: tuple[float, ...]) -> tuple[float, ...]:
    """The scales at which a detector looks at a picture, as given: see `model.runtime.passes`.

    Raises:
        ValueError: unless they are 1 and beside it, each once, numbers from 0.25 to 0.75 or 2, 3 or 4.
    """
    others = [scale for scale in scales if scale != 1]
    fit = all(_SMALL[0] <= scale <= _SMALL[1] or scale in range(2, _MOST_TILES + 1) for scale in others)
    if not fit or 1 not in scales or len(set(scales)) != len(scales):
        raise ValueError("scales are 1 and, beside it, each once, numbers from 0.25 to 0.75 or 2, 3, 4")
    return scales


def parse_scales(text: str) -> tuple[float, ...]:
    """Scales as a person writes them: `1,0.5`.

    Raises:
        ValueError: as `check_scales`, and where a part is no number.
    """
    try:
        scales = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        scales = ()
    return check_scales(scales)


Scales = Annotated[tuple[float, ...], AfterValidator(check_scales)]
