"""FG-NET: 1,002 photographs of 82 people from 0 to 69 years.

Layout (Lanitis et al.; the published FGNET.zip): `images/001A02.JPG`: person 1 at 2 years; several photographs of one
age carry a letter (`001A43b.JPG`). Its 68 landmarks (`points/001a02.pts`) are not read: faces are found by the
detector, as they are when a pack serves. Everything is validation unless --split says otherwise: the field measures
age on it. Never reads an age from anywhere but the name.
"""

import re

from model.training.prepare.by_name import read_by_name
from model.training.prepare.labels import LabelError, parse_age
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import Labels, Reading
from model.training.prepare.sources import Sources

_NAME = re.compile(r"(?P<person>\d{3})A(?P<age>\d{2})[a-z]?\.jpe?g", re.IGNORECASE)


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every image, by its name."""

    def parse(name: str) -> tuple[Labels, str | None]:
        match = _NAME.fullmatch(name)
        if match is None:
            raise LabelError("malformed name")
        return Labels(identity=f"{options.name}:{match['person']}", age=parse_age(match["age"])), None

    return read_by_name(sources, "FG-NET", parse)


LAYOUT = Layout("FG-NET", "fgnet", read, default_split="val")
