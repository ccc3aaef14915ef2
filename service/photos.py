"""Photos: a command line's files, read and analysed in this process, a few at a time.

Holds what stands between paths and the analyzer. Never lets one bad file keep the others from being answered, and never
holds more than a few photographs at once.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.analysis import Analysis, ImageResult, Options, Timings
from service.blocking import BlockingAnalyzer
from service.cores import usable_cores
from service.errors import BadRequest, NotFound, ServiceError


@dataclass(frozen=True, slots=True)
class Photo:
    """One file's bytes, or why there are none."""

    path: Path
    data: bytes = b""
    error: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What all photographs were found to hold, in their order, and how long it took."""

    analysis: Analysis
    total_seconds: float


def read_photo(path: Path) -> Photo:
    """Reads a file; one that is missing, a folder, or not to be read carries its error."""
    try:
        return Photo(path, path.read_bytes())
    except FileNotFoundError:
        return Photo(path, error=NotFound("There is no such file."))
    except IsADirectoryError:
        return Photo(path, error=BadRequest("This is a folder and no photograph."))
    except OSError as error:
        return Photo(path, error=BadRequest(f"The file cannot be read: {error.strerror}."))
    except ValueError:  # a name with a zero byte
        return Photo(path, error=BadRequest("No file can have this name."))


def analyze_photos(
    analyzer: BlockingAnalyzer,
    paths: Sequence[Path],
    options: Options,
    done: Callable[[int, Photo, ImageResult], None],
) -> Answered:
    """Analyses files, as many side by side as there are cores for decoding and inference to share.

    Args:
        analyzer: what answers.
        paths: the files.
        options: what to answer.
        done: told each photograph's number from 0, the photograph and its result, in order.
    """
    started = time.monotonic()
    results: list[ImageResult] = []
    timings: list[Timings] = []
    at_once = 2 * usable_cores()
    for start in range(0, len(paths), at_once):
        photos = [read_photo(path) for path in paths[start : start + at_once]]
        analysis = analyzer.analyze([photo.data for photo in photos if photo.error is None], options)
        timings.append(analysis.timings)
        found = iter(analysis.images)
        for photo in photos:
            result = next(found) if photo.error is None else ImageResult(None, error=photo.error)
            results.append(replace(result, name=photo.path.name))
            done(len(results) - 1, photo, results[-1])
    return Answered(Analysis(tuple(results), Timings.longest(timings)), time.monotonic() - started)
