"""The analyzer: from images' bytes to every face's answers, through decoding, detection, alignment and inference.

Data flow, an image at a time and all images of a request side by side:
decode (decode lanes) -> detector's queue -> choose faces -> cut crops (decode lanes) -> analyzers' queues -> faces.
An image that cannot be read or analysed gets its own error; a deadline or a refusal of a queue ends the request. Knows
nothing of HTTP: a command line uses it through `service.app.open_analyzer`. Never touches the disk.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections
from model.runtime.labels import Task
from model.runtime.pack import Pack
from service.analysis import Analysis, Face, ImageResult, Options, Timings, Upload
from service.batcher import Batcher
from service.crops import Found, Picture
from service.engine import MAX_DETECTION_BATCH, Engine
from service.errors import BadRequest, Internal, ServiceError, TooLarge, UnreadableImage, UnsupportedImage
from service.lanes import Lanes
from service.logs import log_event
from service.metrics import Metrics
from service.preparation import Cut, Preparation, choose
from service.settings import Settings
from service.watchdog import Watchdog

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[Task, NDArray[np.float32]]
# What is wrong with one image and says nothing of the others.
OF_ONE_IMAGE: Final = (BadRequest, UnsupportedImage, TooLarge, UnreadableImage, Internal)
# A CPU run costs what its rows cost, so a larger batch only makes others wait; a detector's rows are the dearest.
_CPU_BATCH: Final = 8
_GPU_BATCH: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Sought:
    """An item of the detector's queue."""

    pixels: NDArray[np.uint8]
    min_score: float


class Analyzer:
    """Answers for one engine. Belongs to one event loop; `start` it there, and `close` it there.

    Args:
        engine: what runs the graphs.
        settings: what the operator chose.
        metrics: where to count.
        is_watched: whether runs that outlast `watchdog_seconds` are given up on.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics, *, is_watched: bool = True) -> None:
        self._engine, self._settings, self._metrics = engine, settings, metrics
        gpu = settings.device == "cuda"
        # Where lanes fill the cores, the event loop would wait behind them with every probe and every refusal; the one
        # that drives a GPU leaves its core to others anyhow, and must not keep the GPU waiting.
        self._lanes = Lanes(settings.num_lanes, "model", yields=not gpu)
        self._decode_lanes = Lanes(
            settings.num_decode_lanes,
            "decode",
            lambda: metrics.dropped.labels("decode", "cancelled").inc(),
            yields=True,
        )
        self.watchdog = Watchdog(settings.watchdog_seconds if is_watched else None, self._lanes.num, metrics)
        self._preparation = Preparation(engine.pack, settings.max_pixels)
        wait = settings.max_wait_ms / 1000
        self._max_detection_batch = MAX_DETECTION_BATCH if gpu else 1
        self._max_batch = settings.max_batch or (_GPU_BATCH if gpu else _CPU_BATCH)
        self._detector: Batcher[_Sought, Detections] = Batcher(
            "detector",
            self._run_detector,
            self._lanes,
            max_batch=self._max_detection_batch,
            max_wait_seconds=wait if gpu else 0,
            metrics=metrics,
            watchdog=self.watchdog,
        )
        self._analyzers: list[Batcher[NDArray[np.uint8], Row]] = [
            Batcher(
                f"analyzer-{index}",
                lambda crops, index=index: self._run_analyzer(index, crops),  # type: ignore[misc]
                self._lanes,
                max_batch=self._max_batch,
                max_wait_seconds=wait,
                metrics=metrics,
                watchdog=self.watchdog,
            )
            for index in range(len(engine.pack.analyzers))
        ]

    @property
    def pack(self) -> Pack:
        """What is served."""
        return self._engine.pack

    @property
    def default_tasks(self) -> tuple[Task, ...]:
        """Every task of the pack but race, unless race is all it has."""
        return tuple(task for task in self.pack.tasks if task != "race") or self.pack.tasks

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
        self._detector.start()
        for queue in self._analyzers:
            queue.start()

    async def close(self) -> None:
        """Finishes what runs, fails what waits, and ends the threads."""
        await self._detector.close()
        for queue in self._analyzers:
            await queue.close()
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
        pairs = await together([self._image(upload, options, deadline) for upload in uploads])
        return Analysis(tuple(result for result, _ in pairs), Timings.longest([timings for _, timings in pairs]))

    async def _image(self, upload: Upload, options: Options, deadline: float) -> tuple[ImageResult, Timings]:
        timings = Timings()
        try:
            if upload.error is not None:
                raise upload.error
            result = await self._read_and_analyze(upload, options, deadline, timings)
        except OF_ONE_IMAGE as error:
            result = ImageResult(upload.name, error=error)
        except ServiceError:
            raise
        except Exception as error:  # a fault of ours on one image is no reason to refuse the others
            log_event("image failed", level=40, error=error)
            result = ImageResult(upload.name, error=Internal("The service failed on this image."))
        self._metrics.images.labels("refused" if result.error else "answered").inc()
        self._metrics.faces.inc(len(result.faces))
        return result, timings

    async def _read_and_analyze(
        self, upload: Upload, options: Options, deadline: float, timings: Timings
    ) -> ImageResult:
        look = self._aligned if options.aligned else self._detected
        picture, faces, cuts = await look(upload.data, options, deadline, timings)
        rows = await self._infer(cuts, deadline, timings)
        answered = tuple(
            replace(
                face,
                outputs={task: row[task] for task in options.tasks},
                quality=cut.quality,
                crop=next(iter(cut.crops.values())) if options.crops else None,
            )
            for face, cut, row in zip(faces, cuts, rows, strict=True)
        )
        return ImageResult(upload.name, picture.width, picture.height, answered)

    async def _aligned(
        self, data: bytes, options: Options, deadline: float, timings: Timings
    ) -> tuple[Picture, list[Face], tuple[Cut, ...]]:
        """An image that is one aligned crop, as one face that fills it."""
        picture, made = await self._decode_lanes.run(self._preparation.open_aligned, data, options, deadline)
        timings.decode, timings.align = made.decode_seconds, made.align_seconds
        box = np.array([0, 0, picture.width, picture.height], np.float32)
        return picture, [Face(box, None, None, {})], made.faces

    async def _detected(
        self, data: bytes, options: Options, deadline: float, timings: Timings
    ) -> tuple[Picture, list[Face], tuple[Cut, ...]]:
        """The faces that detection finds on an image, and their crops."""
        picture, timings.decode = await self._decode_lanes.run(self._preparation.open, data, deadline)
        found = await self._find(picture, options, deadline, timings)
        if not found:
            return picture, [], ()
        made = await self._decode_lanes.run(self._preparation.cut, picture, found, options, data)
        timings.decode, timings.align = timings.decode + made.decode_seconds, made.align_seconds
        return picture, [Face(face.box, face.score, face.landmarks, {}) for face in found], made.faces

    async def _find(self, picture: Picture, options: Options, deadline: float, timings: Timings) -> list[Found]:
        min_score = self.pack.detector.min_score if options.min_score is None else options.min_score
        answered = await self._detector.ask(_Sought(picture.pixels, min_score), deadline)
        timings.detect, timings.queue = answered.run_seconds, answered.queue_seconds
        return choose(answered.value, picture, options, min_score)

    async def _infer(self, cuts: Sequence[Cut], deadline: float, timings: Timings) -> list[Row]:
        """Each face's rows of every analyzer that its tasks need, merged."""
        asked = [(number, index, crop) for number, cut in enumerate(cuts) for index, crop in cut.crops.items()]
        answers = await together([self._analyzers[index].ask(crop, deadline) for _, index, crop in asked])
        rows: list[Row] = [{} for _ in cuts]
        for (number, _, _), answer in zip(asked, answers, strict=True):
            rows[number].update(answer.value)
        timings.queue += max((answer.queue_seconds for answer in answers), default=0.0)
        timings.infer = max((answer.run_seconds for answer in answers), default=0.0)
        return rows

    def _run_detector(self, items: Sequence[_Sought]) -> Sequence[Detections | ServiceError]:
        # One run serves askers of different scores: suppression never lets a lower score drop a higher one, so faces
        # over an asker's own score are the same whatever the lowest was.
        lowest = min(item.min_score for item in items)
        found = self._engine.detect([item.pixels for item in items], lowest)
        self._metrics.views.inc(sum(each.num_views for each in found))
        return [each if each.is_finite else self._not_finite("detector", "an image") for each in found]

    def _run_analyzer(self, index: int, crops: Sequence[NDArray[np.uint8]]) -> Sequence[Row | ServiceError]:
        outputs = self._engine.analyze(index, np.stack(crops))
        lengths = {task: len(rows) for task, rows in outputs.items()}
        if set(lengths.values()) != {len(crops)}:
            raise RuntimeError(f"outputs of {lengths} rows to {len(crops)} crops")
        rows = [{task: values[number] for task, values in outputs.items()} for number in range(len(crops))]
        return [row if _finite(row) else self._not_finite(f"analyzer-{index}", "a face") for row in rows]

    def _not_finite(self, model: str, what: str) -> Internal:
        self._metrics.nonfinite.labels(model).inc()
        log_event("answer that is not finite", level=40, model=model)
        return Internal(f"The model gave no finite answer for {what}.")


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Runs coroutines side by side; the first to fail cancels the rest, and its own error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _finite(row: Row) -> bool:
    return all(bool(np.isfinite(values).all()) for values in row.values())
