"""The analyzer: from images' bytes to every face's answers, through decoding, detection, alignment and inference.

Holds the lanes and the queues, and sends all images of a request on their way side by side (see `service.job`). An
image that cannot be read or analysed gets its own error; a deadline or a refusal of a queue ends the request. Knows
nothing of HTTP: a command line uses it through `service.app.open_analyzer`. Never touches the disk.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections
from model.runtime.labels import Task
from model.runtime.pack import Pack
from service.analysis import Analysis, ImageResult, Options, Timings, Upload
from service.batcher import Batcher
from service.cores import whole_cores
from service.engine import MAX_DETECTION_BATCH, Engine
from service.errors import Internal, ServiceError
from service.job import Job, Row, Sought, Stages
from service.lanes import Lanes, Neighbours
from service.logs import log_event
from service.metrics import Metrics
from service.preparation import Preparation
from service.reply import Reply
from service.settings import Settings
from service.watchdog import Watchdog

P = ParamSpec("P")
T = TypeVar("T")
_End = tuple[ImageResult, Timings]
# On a CPU a crop in a batch of eight costs two thirds of a lone one, in one of four hardly more: a larger batch would
# only make others wait.
_CPU_BATCH: Final = 8
_CPU_TURN: Final = 4  # images that a lane looks at, one by one, before it tells anybody: twice as many gain no more
_GPU_BATCH: Final = 64


class Analyzer:
    """Answers for one engine. Belongs to one event loop; `start` it there, and `close` it there.

    Args:
        engine: what runs the graphs.
        settings: what the operator chose.
        metrics: where to count.
        is_watched: whether runs that outlast `watchdog_seconds` are given up on.
        neighbours: other processes that share the cores.

    Attributes:
        default_tasks: every task of the pack but race, unless race is all it has.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        metrics: Metrics,
        *,
        is_watched: bool = True,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._engine, self._settings, self._metrics = engine, settings, metrics
        tasks = engine.pack.tasks
        self.default_tasks: tuple[Task, ...] = tuple(task for task in tasks if task != "race") or tasks
        gpu = settings.device == "cuda"
        # Where lanes fill the cores, the event loop would wait behind them with every probe and every refusal; the one
        # that drives a GPU leaves its core to others anyhow, and must not keep the GPU waiting.
        self._lanes = Lanes(
            settings.num_lanes,
            "model",
            yields=not gpu,
            neighbours=None if gpu else neighbours,
            cores=whole_cores(settings.num_lanes) if not gpu and neighbours is None else (),
        )
        self._decode_lanes = Lanes(
            settings.num_decode_lanes,
            "decode",
            lambda: metrics.dropped.labels("decode", "cancelled").inc(),
            yields=True,
        )
        self.watchdog = Watchdog(settings.watchdog_seconds if is_watched else None, self._lanes.num, metrics)
        wait = settings.max_wait_ms / 1000
        self._max_detection_batch = MAX_DETECTION_BATCH if gpu else 1
        self._max_batch = settings.max_batch or (_GPU_BATCH if gpu else _CPU_BATCH)
        self._detector: Batcher[Sought, Detections] = Batcher(
            "detector",
            self._run_detector,
            self._lanes,
            max_batch=self._max_detection_batch,
            max_wait_seconds=wait if gpu else 0,
            metrics=metrics,
            watchdog=self.watchdog,
            max_runs=1 if gpu else _CPU_TURN,
            spread=partial(self._run_detector, spread=True) if engine.spreads() else None,
        )
        self._analyzers: list[Batcher[NDArray[np.uint8], Row]] = [
            Batcher(
                f"analyzer-{index}",
                partial(self._run_analyzer, index),
                self._lanes,
                max_batch=self._max_batch,
                max_wait_seconds=wait,
                metrics=metrics,
                watchdog=self.watchdog,
                spread=partial(self._run_analyzer, index, spread=True) if engine.spreads(index) else None,
            )
            for index in range(len(engine.pack.analyzers))
        ]
        self._stages = Stages(
            Preparation(engine.pack, settings.max_pixels),
            self._decode_lanes,
            self._detector,
            self._analyzers,
            engine.pack.detector.min_score,
            None if gpu else self._lanes,
        )

    @property
    def pack(self) -> Pack:
        """What is served."""
        return self._engine.pack

    def predicted_seconds(self) -> float:
        """How long work that comes now will wait in the queues, by what was measured; 0 where they are empty."""
        return self._detector.predicted_seconds() + max(queue.predicted_seconds() for queue in self._analyzers)

    def useful_in_flight(self, *, aligned: bool) -> int:
        """Images at once that keep every lane busy: of each lane a batch that runs and one that queues meanwhile."""
        batch = self._max_batch if aligned else self._max_detection_batch
        return 2 * (batch * self._lanes.num + self._decode_lanes.num)

    async def start(self) -> None:
        """Warms the engine up in a lane, then opens the queues.

        Raises:
            StartupError: if the engine does not answer as its pack states.
        """
        await self._lanes.run(self._engine.warm_up)
        self.watchdog.start()

    async def close(self) -> None:
        """Finishes what runs, fails what waits, and ends the threads."""
        await self._detector.close()
        for queue in self._analyzers:
            await queue.close()
        await self.watchdog.stop()
        self._lanes.close(wait=not self.watchdog.has_stalled)  # a run that hangs would hold up everybody's end
        self._decode_lanes.close()

    async def blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a blocking call (parsing, encoding) in the decode lanes, off the event loop."""
        return await self._decode_lanes.run(call, *args, **kwargs)

    async def analyze(self, uploads: Sequence[Upload], options: Options, deadline: float) -> Analysis:
        """Analyses images side by side.

        Args:
            uploads: the images.
            options: what to answer.
            deadline: on `time.monotonic`'s clock.

        Returns:
            A result an upload, in order.

        Raises:
            WouldMissDeadline: if a queue is predicted to outlast the deadline.
            DeadlinePassed: if it passed.
        """
        futures = [self._begin(upload, options, deadline) for upload in uploads]
        try:
            ends = [await futures[0]] if len(futures) == 1 else await asyncio.gather(*futures)
        finally:
            for future in futures:  # whoever waits no more takes what is left of the work along
                future.cancel()
        for result, _ in ends:
            self._metrics.images.labels("refused" if result.error else "answered").inc()
            self._metrics.faces.inc(len(result.faces))
        return Analysis(tuple(result for result, _ in ends), Timings.longest([timings for _, timings in ends]))

    def _begin(self, upload: Upload, options: Options, deadline: float) -> "asyncio.Future[_End]":
        """Sends one image on its way; cancelling the future takes it out of the queues."""
        reply = Reply[_End]()
        self._lanes.begin_image()
        reply.future.add_done_callback(lambda _: self._lanes.end_image())

        def ended(end: ImageResult | ServiceError, timings: Timings) -> None:
            if isinstance(end, ServiceError):
                reply.fail(end)
            else:
                reply.give((end, timings))

        Job(self._stages, upload, options, deadline, ended, reply.is_wanted).begin()
        return reply.future

    def _run_detector(self, items: Sequence[Sought], *, spread: bool = False) -> Sequence[Detections | ServiceError]:
        # One run serves askers of different scores: suppression never lets a lower score drop a higher one, so faces
        # over an asker's own score are the same whatever the lowest was.
        lowest = min(item.min_score for item in items)
        found = self._engine.detect([item.pixels for item in items], lowest, spread=spread)
        self._metrics.views.inc(sum(each.num_views for each in found))
        return [each if each.is_finite else self._not_finite("detector", "an image") for each in found]

    def _run_analyzer(
        self, index: int, crops: Sequence[NDArray[np.uint8]], *, spread: bool = False
    ) -> Sequence[Row | ServiceError]:
        outputs = self._engine.analyze(index, np.stack(crops), spread=spread)
        lengths = {task: len(rows) for task, rows in outputs.items()}
        if set(lengths.values()) != {len(crops)}:
            raise RuntimeError(f"outputs of {lengths} rows to {len(crops)} crops")
        rows = [{task: values[number] for task, values in outputs.items()} for number in range(len(crops))]
        with np.errstate(over="ignore", invalid="ignore"):
            if all(map(_is_surely_finite, outputs.values())):
                return rows
        are_finite = np.all([_are_finite(values) for values in outputs.values()], axis=0)
        return [
            row if is_finite else self._not_finite(f"analyzer-{index}", "a face")
            for row, is_finite in zip(rows, are_finite.tolist(), strict=True)
        ]

    def _not_finite(self, model: str, what: str) -> Internal:
        self._metrics.nonfinite.labels(model).inc()
        log_event("answer that is not finite", level=40, model=model)
        return Internal(f"The model gave no finite answer for {what}.")


def _is_surely_finite(values: NDArray[np.float32]) -> bool:
    """Whether all are finite numbers, in one look; False may be a sum that is too large, too."""
    return math.isfinite(np.add.reduce(values, axis=None))


def _are_finite(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of each of N rows whether it holds finite numbers alone, (N,)."""
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1), np.bool_)
