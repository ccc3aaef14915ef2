"""Staging: a folder, or a file, that stands whole in its place or not at all.

Holds the hidden folder beside the target, the renaming, and the sweeping of what a kill left. Never knows what is in a
pack beyond that its manifest reads, and never imports torch.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from export.errors import ExportError
from model.runtime.pack import PackError, read_pack

_PART: Final = ".part"


@contextmanager
def staged(out: Path, name: str, *, force: bool = False) -> Iterator[Path]:
    """Yields an empty folder to write a pack into; when the block ends well it takes its place as `out/name`.

    The folder lies one level deeper than a pack, so that nothing takes it for one. If the block raises, is interrupted
    or exits, nothing is left and an old pack of the name stands untouched. What a killed export left, the next sweeps.

    Args:
        out: the folder of packs, made if absent.
        name: the pack's.
        force: replace a folder of that name that is no readable pack.

    Raises:
        ExportError: if `out/name` is there and is no pack, or the folder cannot be written.
    """
    target = out / name
    _require_replaceable(target, force)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _sweep(out, name)
        beside = out / f".{name}.{os.getpid()}{_PART}"
        (beside / name).mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"cannot write into {out}: {error.strerror}") from error
    try:
        yield beside / name
        _require_replaceable(target, force)
        _settle(beside / name)
        if target.exists():
            target.rename(beside / "old")
        try:
            (beside / name).rename(target)
        except OSError:
            if (beside / "old").exists():
                (beside / "old").rename(target)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file that is the old one or the new one at any moment.

    Raises:
        ExportError: if the folder cannot be written.
    """
    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _require_replaceable(target: Path, force: bool) -> None:
    if not target.exists() or force:
        return
    try:
        read_pack(target)
    except PackError as error:
        raise ExportError(f"{target} is there and is no readable pack; --force replaces it") from error


def _sweep(out: Path, name: str) -> None:
    """Removes what exports left that were killed outright: a part folder whose process is gone."""
    for left in out.glob(f".{name}.*{_PART}"):
        number = left.name.removesuffix(_PART).rsplit(".", 1)[-1]
        if number.isdigit() and not _is_alive(int(number)):
            _restore(left, out / name)
            shutil.rmtree(left, ignore_errors=True)


def _restore(left: Path, target: Path) -> None:
    """A kill between the two renames leaves the old pack in the part folder: it goes back."""
    if (left / "old").exists() and not target.exists():
        (left / "old").rename(target)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _settle(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
