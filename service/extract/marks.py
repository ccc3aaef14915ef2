"""Marks: how far a file of rows has come, kept beside it, so that a stopped or killed run goes on behind its last row.

A mark is written after the rows that it speaks of are on the disk. Never trusts a file past its mark.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from service.extract.rows import shown


class MarkError(ValueError):
    """What was begun cannot go on; the message is one line that says why."""


class Counts(BaseModel):
    """What became of the images so far.

    Attributes:
        images: images that were looked at.
        faces: faces that were written.
        bad: images that could not be read or analysed.
        faceless: images on which no face was found.
        skipped: images that were there already.
    """

    model_config = ConfigDict(extra="forbid")

    images: int = 0
    faces: int = 0
    bad: int = 0
    faceless: int = 0
    skipped: int = 0


class Mark(BaseModel):
    """How far a file has come.

    Attributes:
        made_by: what the rows depend on, by name; another value makes other rows.
        num_paths: paths of the source that are behind it, bad ones included.
        digest: SHA-256 over those paths, each followed by a zero byte.
        last_path: the last of them.
        num_bytes: length of the file.
        counts: what became of them.
    """

    model_config = ConfigDict(extra="forbid")

    made_by: dict[str, str]
    num_paths: int = 0
    digest: str = ""
    last_path: str = ""
    num_bytes: int = 0
    counts: Counts = Counts()


def write_mark(mark: Mark, file: Path) -> None:
    """Puts a mark in the place of the last one, all at once."""
    part = file.with_name(f"{file.name}.new")
    with part.open("w", encoding="utf-8") as target:
        target.write(mark.model_dump_json())
        target.flush()
        os.fsync(target.fileno())
    part.replace(file)


def read_mark(file: Path, made_by: dict[str, str]) -> Mark:
    """The mark of a run that was made by the same choices.

    Raises:
        MarkError: if there is none, or the run was another one.
    """
    try:
        mark = Mark.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise MarkError(f"{file} is missing, which says how far the run had come; --overwrite begins again") from None
    except (OSError, ValidationError):
        raise MarkError(f"{file} is damaged; --overwrite begins again") from None
    for name in sorted(made_by.keys() | mark.made_by.keys()):
        before, now = mark.made_by.get(name, "none"), made_by.get(name, "none")
        if before != now:
            raise MarkError(f"the run was begun with {name} {before}, not {now}; --overwrite begins again")
    return mark


class Trail:
    """The paths that were passed so far, as a digest: what goes on must have come by the same ones."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.num_paths = 0
        self.last = ""

    @property
    def digest(self) -> str:
        """Of all paths so far."""
        return self._hash.hexdigest()

    def add(self, path: Path) -> None:
        """Passes a path."""
        self.last = shown(path)
        self._hash.update(os.fsencode(path) + b"\0")
        self.num_paths += 1

    def follow(self, mark: Mark, paths: Iterator[Path]) -> None:
        """Passes the paths that a mark speaks of.

        Raises:
            MarkError: if the source gives others now.
        """
        while self.num_paths < mark.num_paths and (path := next(paths, None)) is not None:
            self.add(path)
        if (self.num_paths, self.digest) != (mark.num_paths, mark.digest):
            raise MarkError(
                f"the source has changed: its first {mark.num_paths:,} images, up to {mark.last_path}, are others now; "
                "--overwrite begins again"
            )
