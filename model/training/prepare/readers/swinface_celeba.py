"""SwinFace's CelebA lists: 40 attributes in SwinFace's own order.

Layout (`CelebADataset` in SwinFace's analysis/datasets.py, MIT): a list a part, a header line and then `name` and 40
values, "1" for yes, in the order of SwinFace's outputs (analysis/task_name.py) without age and expression: not
CelebA's. Its `gender` is CelebA's `male`. The images lie in a folder of their own, or beside the list. Which part a
list is of, its name says (`train`, `val`, `test`). Never reads the header's names: the published loader passes over
them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model.runtime.labels import ATTRIBUTES
from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, parse_attributes, part_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Line, Sources, read_lines

ORDER: Final = (
    *("attractive", "blurry", "chubby", "heavy_makeup", "male", "oval_face", "pale_skin", "smiling", "young"),
    *("bald", "bangs", "black_hair", "blond_hair", "brown_hair", "gray_hair", "receding_hairline"),
    *("straight_hair", "wavy_hair", "wearing_hat", "arched_eyebrows", "bags_under_eyes", "bushy_eyebrows"),
    *("eyeglasses", "narrow_eyes", "big_nose", "pointy_nose", "high_cheekbones", "rosy_cheeks"),
    *("wearing_earrings", "sideburns", "5_o_clock_shadow", "big_lips", "mouth_slightly_open", "mustache"),
    *("wearing_lipstick", "no_beard", "double_chin", "goatee", "wearing_necklace", "wearing_necktie"),
)
_MALE: Final = ATTRIBUTES.index("male")


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every line of the lists but their headers."""
    named = [path for path in sources.paths if path.is_file()]
    lists = [(path, read_lines(path)[1:]) for path in named or sources.matching(r".*label.*\.txt")]
    if not any(lines for _, lines in lists):
        raise DataError(f"{sources.paths[0]} is not laid out as SwinFace's CelebA: there is no list with rows")
    rows = (row for path, lines in lists for row in _rows(path, lines, sources))
    return Reading(rows, sum(len(lines) for _, lines in lists))


def _rows(path: Path, lines: list[Line], sources: Sources) -> Iterator[FaceRow | BadRow]:
    parents = [path.parent, *sources.folders]
    folders = ("data", "img_align_celeba", part_of(path.stem))
    finder = ImageFinder([*(parent / folder for parent in parents for folder in folders if folder), *parents])
    for line in lines:
        name = line.words[0]
        try:
            attributes = parse_attributes(line.words[1:], ORDER)
        except LabelError as error:
            yield BadRow(name, str(error), f"{path.name}, line {line.number}")
            continue
        image = finder.find(name)
        if image is None:
            yield BadRow(name, "no such image")
            continue
        labels = Labels(gender=attributes[_MALE], attributes=attributes)
        yield FaceRow(name, FileImage(image), labels, part_of(path.stem))


LAYOUT = Layout("SwinFace's CelebA", "celeba", read)
