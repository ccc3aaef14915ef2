"""Extraction: images of any number through the analyzer into a target, in order, all lanes busy, memory flat.

Keeps as many images under way as the lanes can use, and writes each result when it and all before it are there. Never
holds a list of all images, and never lets one bad image end the run.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from service.analysis import ImageResult, Options, Upload
from service.blocking import BlockingAnalyzer
from service.errors import ServiceError
from service.extract.marks import Counts
from service.extract.targets import Target, TargetError
from service.photos import read_photo

Told = Callable[[Path, str | None], None]


class Extraction:
    """One run.

    Args:
        analyzer: what answers.
        options: what to answer.
        target: where results go; `begin` must have been called.
        counts: what became of the images before; those of this run are added to it.
        told: told each image's path when it is through, and what is to be said of it, if anything.
    """

    def __init__(
        self, analyzer: BlockingAnalyzer, options: Options, target: Target, counts: Counts, told: Told
    ) -> None:
        self._analyzer, self._options, self._target, self._told = analyzer, options, target, told
        self._under_way: deque[tuple[Path, Future[ImageResult]]] = deque()
        self._stopped = False
        self.counts = counts

    def stop(self) -> None:
        """Ends the run behind the image that is being written; safe to call from a signal's handler."""
        self._stopped = True

    def run(self, paths: Iterator[Path]) -> bool:
        """Extracts every path, until it is stopped.

        Returns:
            Whether it came to the end.

        Raises:
            OSError: if the target cannot be written.
        """
        most = self._analyzer.useful_in_flight(aligned=self._options.aligned)
        try:
            for path in paths:
                self._begin(path)
                while len(self._under_way) >= most and not self._stopped:
                    self._settle()
                if self._stopped:
                    return False
            while self._under_way and not self._stopped:
                self._settle()
            return not self._stopped
        finally:
            for _, waiting in self._under_way:
                waiting.cancel()

    def _begin(self, path: Path) -> None:
        if self._target.has(path):
            self.counts.skipped += 1
            self._told(path, None)
        else:
            self._under_way.append((path, self._analyzer.submit(partial(_read, path), self._options)))

    def _settle(self) -> None:
        """Waits for the oldest image, and writes it."""
        path, waiting = self._under_way.popleft()
        try:
            result = waiting.result()
        except ServiceError as error:
            result = ImageResult(None, error=error)
        self._told(path, self._write(path, result))

    def _write(self, path: Path, result: ImageResult) -> str | None:
        """Counts and writes one result; what is to be said of it."""
        after = self.counts.model_copy()
        after.images += 1
        after.faces += len(result.faces)
        after.bad += result.error is not None
        after.faceless += result.error is None and not result.faces
        try:
            self._target.write(path, result, after)
        except TargetError as error:
            self.counts.images, self.counts.bad = self.counts.images + 1, self.counts.bad + 1
            return str(error)
        self.counts = after
        if result.error is not None:
            return result.error.detail
        return "no face" if self._target.one_an_image and not result.faces else None


def _read(path: Path) -> Upload:
    photo = read_photo(path)
    return Upload(photo.data, path.name, photo.error)
