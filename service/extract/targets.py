"""Targets: where results go: a file of rows that grows beside its target, or a folder with an embedding an image.

Rows are written to `TARGET.part` with a mark beside it, and become TARGET when the source is through; an embedding's
file is written beside its place and then renamed. So a killed run leaves no half row and no half file under a name that
anybody reads. Never touches a target that is there unless it is told to.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import numpy as np

from service.analysis import ImageResult
from service.extract.forms import RowForm
from service.extract.marks import Counts, Mark, MarkError, Trail, read_mark, write_mark

_MARK_SECONDS: Final = 1.0


class TargetError(ValueError):
    """A target cannot be begun, or cannot take an image; the message is one line."""


class Target(Protocol):
    """Takes results, in the source's order."""

    one_an_image: bool

    def begin(self, paths: Iterator[Path]) -> Counts | None:
        """Begins, or goes on behind what is there: takes the paths that are behind from `paths`.

        Returns:
            What became of those; None where all was finished before, and there is nothing to do.

        Raises:
            TargetError: if something is in the way.
            MarkError: if what was begun cannot go on.
        """

    def has(self, path: Path) -> bool:
        """Whether an image's result is there already."""

    def write(self, path: Path, image: ImageResult, counts: Counts) -> None:
        """Takes an image's result, its error included; `counts` are those after it.

        Raises:
            TargetError: if it cannot take this one, and can go on.
            OSError: if it cannot go on.
        """

    def stop(self, counts: Counts) -> None:
        """Ends before the source is through, so that `begin` can go on some other time."""

    def finish(self) -> None:
        """Ends with the source."""


class RowFile:
    """A file of rows."""

    def __init__(
        self, target: Path, form: RowForm, made_by: dict[str, str], *, resume: bool, overwrite: bool, one_an_image: bool
    ) -> None:
        self.one_an_image = one_an_image
        self._target, self._form, self._resume, self._overwrite = target, form, resume, overwrite
        self._part = target.with_name(f"{target.name}.part")
        self._mark_file = target.with_name(f"{target.name}.part.json")
        self._mark = Mark(made_by=made_by)
        self._trail = Trail()
        self._file: BinaryIO | None = None
        self._marked_at = 0.0

    def begin(self, paths: Iterator[Path]) -> Counts | None:
        """As `Target.begin`."""
        if self._resume and self._part.exists():
            return self._go_on(paths)
        if self._resume and self._target.exists():
            return None
        for there in () if self._overwrite else (self._target, self._part):
            if there.exists():
                raise TargetError(f"{there} is there already: --resume goes on with it, --overwrite begins again")
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._file.write(self._form.header())
        self._set_mark(Counts())
        return Counts()

    def has(self, path: Path) -> bool:  # noqa: ARG002 - what is there was passed over by `begin`
        """False: what is there lies behind the mark."""
        return False

    def write(self, path: Path, image: ImageResult, counts: Counts) -> None:
        """Appends an image's rows; the mark follows them every second."""
        self._trail.add(path)
        if image.error is None:
            self._open.write(self._form.rows(path, image))
        if time.monotonic() - self._marked_at >= _MARK_SECONDS:
            self._set_mark(counts)

    def stop(self, counts: Counts) -> None:
        """Sets the mark behind the last row."""
        self._set_mark(counts)
        self._open.close()

    def finish(self) -> None:
        """Makes the target."""
        self._open.flush()
        os.fsync(self._open.fileno())
        self._open.close()
        self._form.finish(self._part, self._target)
        self._mark_file.unlink()

    @property
    def _open(self) -> BinaryIO:
        assert self._file is not None, "begin comes first"
        return self._file

    def _go_on(self, paths: Iterator[Path]) -> Counts:
        self._mark = read_mark(self._mark_file, self._mark.made_by)
        if self._part.stat().st_size < self._mark.num_bytes:
            raise MarkError(f"{self._part} is shorter than its mark says; --overwrite begins again")
        self._trail.follow(self._mark, paths)
        self._file = self._part.open("r+b")
        self._file.truncate(self._mark.num_bytes)  # what follows the mark may end in half a row
        self._file.seek(self._mark.num_bytes)
        return self._mark.counts

    def _set_mark(self, counts: Counts) -> None:
        self._open.flush()
        os.fsync(self._open.fileno())
        trail = self._trail
        behind = {"num_paths": trail.num_paths, "digest": trail.digest, "last_path": trail.last}
        changed = {**behind, "num_bytes": self._open.tell(), "counts": counts.model_copy()}
        self._mark = self._mark.model_copy(update=changed)
        write_mark(self._mark, self._mark_file)
        self._marked_at = time.monotonic()


class NpyFolder:
    """face_analysis_pytorch's `feature_extraction`: a float32 (D,) `.npy` an image, in the image's sub-folder name."""

    one_an_image = True

    def __init__(self, folder: Path, *, several: bool, resume: bool, overwrite: bool) -> None:
        self._folder, self._several, self._resume, self._overwrite = folder, several, resume, overwrite
        self._began_ns = 0

    def begin(self, paths: Iterator[Path]) -> Counts | None:  # noqa: ARG002 - `has` tells path by path
        """As `Target.begin`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._resume or self._overwrite) and next(self._folder.glob("*/*.npy"), None) is not None:
            raise TargetError(f"{self._folder} holds embeddings already: --resume adds, --overwrite replaces")
        began = self._folder / ".began.part"
        began.touch()  # the folder's own clock, which may be another machine's
        self._began_ns = began.stat().st_mtime_ns
        began.unlink()
        return Counts()

    def has(self, path: Path) -> bool:
        """Whether an image's file is there, and is to be kept."""
        return self._resume and self._file(path, 1).exists()

    def write(self, path: Path, image: ImageResult, counts: Counts) -> None:  # noqa: ARG002 - files are their own mark
        """Writes an image's embeddings, the largest face's last: where its file is, all are."""
        for number in range(len(image.faces), 0, -1):
            file = self._file(path, number)
            with contextlib.suppress(FileNotFoundError):
                if file.stat().st_mtime_ns >= self._began_ns:
                    raise TargetError(f"{file} was written before, for an image of the same folder name and stem")
            file.parent.mkdir(exist_ok=True)
            part = file.with_name(f".{file.name}.part")
            with part.open("wb") as target:
                np.save(target, image.faces[number - 1].outputs["embedding"].astype("<f4"))
            part.replace(file)

    def stop(self, counts: Counts) -> None:
        """Nothing: each file is whole."""

    def finish(self) -> None:
        """Nothing: each file is whole."""

    def _file(self, path: Path, number: int) -> Path:
        """`SUB-FOLDER/STEM.npy`, with `_1`, `_2` and so on behind the stem where faces beside the largest are kept."""
        sub_folder = path.parent.name or path.absolute().parent.name
        return self._folder / sub_folder / (f"{path.stem}_{number}.npy" if self._several else f"{path.stem}.npy")
