"""The blocking door: the analysis of images without HTTP, for a command line or a notebook.

Runs an `Analyzer` in an event loop of its own, in a thread of its own. Never listens on anything.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from model.runtime.pack import Pack
from service.analysis import Analysis, ImageResult, Options, Upload
from service.analyzer import Analyzer
from service.comparison import Comparison, compare_images
from service.settings import Settings
from service.verification import criterion

T = TypeVar("T")


class BlockingAnalyzer:
    """A warmed-up analyzer whose methods block. Get it from `service.app.open_analyzer`, and close it (or use `with`).

    Raises:
        StartupError: when it is made, if the engine does not answer as its pack states.
    """

    def __init__(self, analyzer: Analyzer, settings: Settings) -> None:
        self._analyzer, self._settings = analyzer, settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mien-blocking", daemon=True)
        self._thread.start()
        try:
            self._run(analyzer.start())
        except BaseException:
            self.close()
            raise

    @property
    def pack(self) -> Pack:
        """What answers."""
        return self._analyzer.pack

    @property
    def default_options(self) -> Options:
        """Every task of the pack but race (unless race is all it has), every face."""
        return Options(self._analyzer.default_tasks)

    def analyze(self, images: Sequence[bytes], options: Options | None = None) -> Analysis:
        """Analyses image files' bytes; an image that cannot be read carries its error in its result.

        Raises:
            DeadlinePassed: if it took longer than the settings' deadline.
        """
        uploads = [Upload(data) for data in images]
        return self._run(self._analyzer.analyze(uploads, options or self.default_options, self._deadline()))

    def submit(self, read: Callable[[], Upload], options: Options) -> "Future[ImageResult]":
        """Begins to read and to analyse one image, and returns at once, for a caller that keeps several under way.

        Args:
            read: gives the image; called in a decode lane, so that a slow disk holds up nobody else.
            options: what to answer.

        Returns:
            Its result, which carries what is wrong with it; cancelling it takes it out of the queues. A `ServiceError`
            is raised where the image never got to be analysed.
        """
        return asyncio.run_coroutine_threadsafe(self._read_and_analyze(read, options), self._loop)

    def useful_in_flight(self, *, aligned: bool) -> int:
        """Images under way that keep every lane busy; more would only wait, and take memory."""
        return self._analyzer.useful_in_flight(aligned=aligned)

    def verify(
        self, first: bytes, second: bytes, *, fmr: float | None = None, threshold: float | None = None
    ) -> Comparison:
        """Compares the largest face of each of two images.

        Raises:
            NoFace: if an image has no face.
            InvalidOption: if `fmr` is not calibrated, or both are stated.
            UnknownOption: if the pack has no embeddings.
            ServiceError: what is wrong with an image.
        """
        chosen = criterion(self.pack.verification, fmr, threshold)
        pair = [Upload(first), Upload(second)]
        return self._run(compare_images(self._analyzer, pair, chosen, self._deadline()))

    def close(self) -> None:
        """Finishes what runs and ends the threads."""
        if self._loop.is_closed():
            return
        self._run(self._analyzer.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> "BlockingAnalyzer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _read_and_analyze(self, read: Callable[[], Upload], options: Options) -> ImageResult:
        upload = await self._analyzer.blocking(read)
        return (await self._analyzer.analyze([upload], options, self._deadline())).images[0]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _deadline(self) -> float:
        return time.monotonic() + self._settings.deadline_ms / 1000
