"""AgeDB: 16,488 photographs of 568 people with age and gender.

Layout (Moschoglou et al. 2017; the published AgeDB.zip): `[number]_[NameOfPerson]_[age]_[m|f].jpg`. Never reads a
label from anywhere but the name.
"""

import re

from model.training.prepare.by_name import read_by_name
from model.training.prepare.labels import LabelError, parse_age
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import Labels, Reading
from model.training.prepare.sources import Sources

_NAME = re.compile(r"\d+_(?P<person>.+)_(?P<age>\d{1,3})_(?P<gender>[mf])\.jpe?g", re.IGNORECASE)


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every image, by its name."""

    def parse(name: str) -> tuple[Labels, str | None]:
        match = _NAME.fullmatch(name)
        if match is None:
            raise LabelError("malformed name")
        identity, gender = f"{options.name}:{match['person']}", int(match["gender"].lower() == "m")
        return Labels(identity=identity, age=parse_age(match["age"]), gender=gender), None

    return read_by_name(sources, "AgeDB", parse)


LAYOUT = Layout("AgeDB", "agedb", read)
