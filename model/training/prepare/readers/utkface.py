"""UTKFace: 23,708 faces with age, gender and race.

Layout (Zhang, Song, Qi 2017; the set's own page): `[age]_[gender]_[race]_[date].jpg`, and `.jpg.chip.jpg` of the
aligned and cropped faces; gender 0 male, 1 female; race 0 White, 1 Black, 2 Asian, 3 Indian, 4 other. The published
archives hold a few broken names: two numbers in place of three (39_1_20170116174525125, 61_1_20170109142408075,
61_3_20170109150557335: left out, for nobody says which is missing), a race missing between its marks (53__0_..., left
out), a blank or a missing point before the suffix (24_0_1_20170116220224657 .jpg, 55_0_0_20170116232725357jpg:
complete, and taken). Never guesses what a broken name leaves out.
"""

import re

from model.training.prepare.by_name import read_by_name
from model.training.prepare.labels import LabelError, parse_age, parse_race
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import Labels, Reading
from model.training.prepare.sources import Sources

_NAME = re.compile(
    r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>\d)_(?P<date>\d+)\s*\.?jpg(\.chip\.jpg)?", re.IGNORECASE
)


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every image, by its name."""
    return read_by_name(sources, "UTKFace", parse)


def parse(name: str) -> tuple[Labels, str | None]:
    """Labels of an image by its name; no group.

    Raises:
        LabelError: if the name is broken.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise LabelError("malformed name")
    return Labels(age=parse_age(match["age"]), gender=1 - int(match["gender"]), race=parse_race(match["race"])), None


LAYOUT = Layout("UTKFace", "utkface", read)
