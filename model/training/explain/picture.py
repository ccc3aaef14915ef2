"""Pictures of explanations: a photograph with its faces numbered, and beside each face's crop the maps over it.

Holds the drawing, on matplotlib's own Agg canvas without its global state. Never takes a gradient: what it draws stands
in the explanations. Shape suffixes: S crop side; C channels; H, W image height and width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from model.training.evaluation.curves import DPI, PALETTE, save_figure
from model.training.explain.explanation import Explanation
from model.training.explain.faces import Photograph
from model.training.explain.gradcam import Method, upsampled

_CELL_INCHES: Final = 2.3
_TITLE_INCHES: Final = 0.35
_MAP_COLOURS: Final = "turbo"
_MAP_OPACITY: Final = 0.5
_METHOD_TITLES: Final[dict[Method, str]] = {"grad-cam": "Grad-CAM", "hires-cam": "HiResCAM"}
_NOTHING: Final = "nothing speaks for it"


def draw_explanations(
    photograph: Photograph, faces: Sequence[Sequence[Explanation]], method: Method, target: Path
) -> Path:
    """Draws a row a face: its crop, and one map an answer over it in grey, with a colour bar.

    Above them stands the photograph with its faces numbered, unless the image was an aligned crop.

    Args:
        photograph: with one crop a face.
        faces: a list a face, of one explanation an answer.
        method: how the maps were weighed, for the colour bar.
        target: the PNG.
    """
    num_columns = 1 + len(faces[0])
    width = _CELL_INCHES * num_columns + 0.9
    top = 0.0 if photograph.boxes is None else _top_inches(photograph.pixels, width)
    row = _CELL_INCHES + _TITLE_INCHES
    figure = Figure(figsize=(width, top + row * len(faces) + 0.3), dpi=DPI, layout="constrained")
    heights = [row] * len(faces) if photograph.boxes is None else [top, *[row] * len(faces)]
    grid = figure.add_gridspec(len(heights), num_columns, height_ratios=heights)
    if photograph.boxes is not None:
        _draw_photograph(figure.add_subplot(grid[0, :]), photograph)
    first = len(heights) - len(faces)
    below: list[Axes] = []
    for place, explanations in enumerate(faces):
        crop = photograph.crops[place]
        axes = figure.add_subplot(grid[first + place, 0])
        _show(axes, crop, f"face {place + 1}" if photograph.boxes is not None else "crop")
        below.append(axes)
        for column, explanation in enumerate(explanations, 1):
            axes = figure.add_subplot(grid[first + place, column])
            _draw_map(axes, crop, explanation)
            below.append(axes)
    colours = ScalarMappable(Normalize(0, 1), _MAP_COLOURS)
    bar = figure.colorbar(colours, ax=below, shrink=0.9 if len(faces) == 1 else 0.5, alpha=_MAP_OPACITY, aspect=25)
    bar.set_label(f"{_METHOD_TITLES[method]}: each map's\nlowest place to its highest", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return save_figure(figure, target)


def _draw_map(axes: Axes, crop_SSC: NDArray[np.uint8], explanation: Explanation) -> None:
    side = crop_SSC.shape[0]
    grey = crop_SSC.astype(np.float32).mean(axis=2)
    title = explanation.caption if explanation.grid.any() else f"{explanation.caption}\n{_NOTHING}"
    _show(axes, grey, title)
    axes.imshow(upsampled(explanation.grid, side), cmap=_MAP_COLOURS, vmin=0, vmax=1, alpha=_MAP_OPACITY)


def _draw_photograph(axes: Axes, photograph: Photograph) -> None:
    assert photograph.boxes is not None
    _show(axes, photograph.pixels, photograph.path.name)
    for number, (x1, y1, x2, y2) in enumerate(photograph.boxes.tolist(), 1):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=PALETTE[4], linewidth=1.5))
        label = axes.text(x1, y1, f" {number} ", fontsize=9, color="black", va="bottom")
        label.set_bbox({"facecolor": PALETTE[4], "edgecolor": "none", "pad": 1})


def _show(axes: Axes, pixels: NDArray[np.generic], title: str) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def _top_inches(pixels_HWC: NDArray[np.uint8], width: float) -> float:
    """The photograph's height at the picture's width, within reason."""
    height, pixels_wide = pixels_HWC.shape[:2]
    return float(np.clip(width * height / pixels_wide, 1.5, 4.5)) + _TITLE_INCHES
