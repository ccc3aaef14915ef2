"""ROC: the curve as a table (`.csv`) for whoever plots, and as a picture (`.svg`) for whoever looks.

The picture is drawn here, as text: the serving install has no plotting library, and one curve on two axes needs none.
Never rounds a point of the table.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import numpy as np

from service.match.accuracy import Curve

_WIDTH: Final = 640
_HEIGHT: Final = 480
_LEFT: Final = 70
_RIGHT: Final = 24
_TOP: Final = 44
_BOTTOM: Final = 56
_INK: Final = "#1f2430"
_GRID: Final = "#d9dce3"
_LINE: Final = "#1f6feb"
_LOWEST_DECADE: Final = -6


def write_curve(curve: Curve, path: Path) -> None:
    """Writes `threshold,fmr,tar` rows, the lowest FMR first."""
    rows = zip(curve.threshold.tolist(), curve.fmr.tolist(), curve.tar.tolist(), strict=True)
    lines = ["threshold,fmr,tar", *(f"{threshold:.6f},{fmr!r},{tar!r}" for threshold, fmr, tar in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_picture(curve: Curve, title: str, subtitle: str, path: Path) -> None:
    """Draws TAR over FMR, the latter on a logarithmic axis from 1e-6 (or the lowest that there is) to 1."""
    path.write_text("\n".join(_svg(curve, title, subtitle)) + "\n", encoding="utf-8")


def _svg(curve: Curve, title: str, subtitle: str) -> Iterator[str]:
    shown = curve.fmr > 0
    lowest = float(np.log10(curve.fmr[shown].min(initial=0.1)))
    decade = max(_LOWEST_DECADE, int(np.floor(lowest)))
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" fill="{_INK}">'
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    yield _text(_LEFT, 20, title, 15, "start") + _text(_LEFT, 37, subtitle, 11, "start")
    for power in range(decade, 1):
        x = _x(power, decade)
        yield _rule(x, _TOP, x, _HEIGHT - _BOTTOM) + _text(x, _HEIGHT - _BOTTOM + 18, f"1e{power}" if power else "1")
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        yield _rule(_LEFT, y, _WIDTH - _RIGHT, y) + _text(_LEFT - 8, y + 4, f"{tenth / 10:.1f}", 12, "end")
    spots = zip(np.log10(curve.fmr[shown]), curve.tar[shown], strict=True)
    points = " ".join(f"{_x(float(fmr), decade):.2f},{_y(float(tar)):.2f}" for fmr, tar in spots if fmr >= decade)
    yield f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="2"/>'
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 16, "false-match rate")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield f'<g transform="rotate(-90 22 {middle:g})">{_text(22, middle, "true-accept rate")}</g>'
    yield "</svg>"


def _x(power: float, decade: int) -> float:
    return _LEFT + (power - decade) / -decade * (_WIDTH - _LEFT - _RIGHT)


def _y(tar: float) -> float:
    return _HEIGHT - _BOTTOM - tar * (_HEIGHT - _TOP - _BOTTOM)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{_GRID}"/>'


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "middle") -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
