"""Job: one image's way from its bytes to its faces, from thread to thread.

Decode -> detector's queue -> choose faces, cut crops -> analyzers' queues -> faces. Each step begins
where the one before it ended, in the thread that ended it, so that the event loop hears of an image when it is done and
not before. Never waits for anything, and never knows who asked.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections
from model.runtime.labels import Task
from service.analysis import Face, ImageResult, Options, Timings, Upload
from service.batcher import Answered, Batcher, Wish
from service.crops import Picture
from service.errors import (
    BadRequest,
    Internal,
    ServiceError,
    TooLarge,
    UnreadableImage,
    UnsupportedImage,
    forget_frames,
)
from service.lanes import Lanes
from service.logs import log_event
from service.preparation import Cut, Cuts, Preparation, choose

_JPEG: Final = b"\xff\xd8\xff"
_QUICK_BYTES: Final = 2_000_000
Row = dict[Task, NDArray[np.float32]]
Ended = Callable[[ImageResult | ServiceError, Timings], None]
# What is wrong with one image and says nothing of the others.
OF_ONE_IMAGE: Final = (BadRequest, UnsupportedImage, TooLarge, UnreadableImage, Internal)


@dataclass(frozen=True, slots=True, eq=False)
class Sought:
    """An item of the detector's queue: uint8 (H, W, 3) RGB pixels, and the lowest score of a face that is wanted."""

    pixels: NDArray[np.uint8]
    min_score: float


@dataclass(frozen=True, slots=True)
class Stages:
    """What every job of an analyzer goes through.

    Attributes:
        preparation: decodes and cuts.
        decode_lanes: where it does so.
        detector: the detector's queue.
        analyzers: the analyzers' queues, in the pack's order.
        min_score: the pack's lowest score of a face.
        lanes: where the graphs run, if an image is to stay there as far as it can: what is quickly decoded is decoded
            there, right before it is looked at, and its crops are cut in the lane that found the faces. A picture that
            waits, and the way to another thread, cost a CPU more than they gain; None on a GPU, which must not wait.
    """

    preparation: Preparation
    decode_lanes: Lanes
    detector: Batcher[Sought, Detections]
    analyzers: Sequence[Batcher[NDArray[np.uint8], Row]]
    min_score: float
    lanes: Lanes | None


class Job:
    """One image under way.

    Args:
        stages: what it goes through.
        upload: the image.
        options: what to answer.
        deadline: on `time.monotonic`'s clock.
        ended: told once how it ended, in whichever thread that is: a result, which may hold what is wrong with this
            image, or the error that ends its whole request.
        is_wanted: whether anybody still waits for it; asked from any thread before each step.
    """

    def __init__(
        self,
        stages: Stages,
        upload: Upload,
        options: Options,
        deadline: float,
        ended: Ended,
        is_wanted: Callable[[], bool],
    ) -> None:
        self._stages, self._upload, self._options, self._deadline = stages, upload, options, deadline
        self._ended, self._is_wanted = ended, is_wanted
        self._timings = Timings()
        self._lock = threading.Lock()
        self._has_ended = False
        self._num_missing = 0
        self._waited_seconds = 0.0  # for the analyzers
        self._faces: list[Face] = []
        self._cuts: tuple[Cut, ...] = ()
        self._rows: list[Row] = []
        self._size = (0, 0)

    def begin(self) -> None:
        """Starts on the way; returns at once."""
        if self._upload.error is not None:
            self._fail(self._upload.error)
            return
        opening = self._open_aligned if self._options.aligned else self._open
        self._submit(self._stages.lanes if _is_quick(self._upload.data) else None, opening)

    def _submit(self, lanes: Lanes | None, step: Callable[[], None]) -> None:
        """Takes a step when a lane is free, of the decode lanes if of no others; the wait for it counts."""
        since = time.monotonic()

        def begin() -> None:
            self._timings.queue += time.monotonic() - since
            step()

        (lanes or self._stages.decode_lanes).submit(partial(self._step, begin), self._is_wanted)

    def _step(self, step: Callable[..., None], *args: object) -> None:
        """One step of the way; whatever it raises ends the job."""
        if not self._is_wanted():
            return
        try:
            step(*args)
        except ServiceError as error:
            self._fail(error)
        except BaseException as error:  # a fault of ours on one image is no reason to refuse the others
            log_event("image failed", level=40, error=error)
            self._fail(Internal("The service failed on this image."))

    def _open_aligned(self) -> None:
        """The image is one aligned crop: one face, which fills it."""
        picture, made = self._stages.preparation.open_aligned(self._upload.data, self._options, self._deadline)
        self._size = picture.width, picture.height
        self._faces = [Face(np.array([0, 0, *self._size], np.float32), None, None, {})]
        self._ask(made)

    def _open(self) -> None:
        picture, self._timings.decode = self._stages.preparation.open(self._upload.data, self._deadline)
        self._size = picture.width, picture.height
        min_score = self._stages.min_score if self._options.min_score is None else self._options.min_score
        sought = Sought(picture.pixels, min_score)
        seen = partial(self._step, self._seen, picture, min_score)
        self._stages.detector.put([Wish(sought, self._deadline, seen, self._is_wanted)])

    def _seen(self, picture: Picture, min_score: float, answered: Answered[Detections] | ServiceError) -> None:
        if isinstance(answered, ServiceError):
            raise answered
        self._timings.detect = answered.run_seconds
        self._timings.queue += answered.queue_seconds
        found = choose(answered.value, picture, self._options, min_score)
        if not found:
            self._end()
            return
        self._faces = [Face(face.box, face.score, face.landmarks, {}) for face in found]
        preparation = self._stages.preparation
        side_px = preparation.wanted_side_px(picture, found, self._options)
        if side_px is not None:
            self._later(partial(preparation.cut_larger, self._upload.data, side_px, found, self._options))
        elif self._stages.lanes is not None:
            self._ask(preparation.cut(picture, found, self._options))
        else:
            self._later(partial(preparation.cut, picture, found, self._options))

    def _later(self, cut: Callable[[], Cuts]) -> None:
        """Cuts in the decode lanes."""
        self._submit(None, lambda: self._ask(cut()))

    def _ask(self, made: Cuts) -> None:
        """Queues every crop with its analyzer."""
        self._timings.decode += made.decode_seconds
        self._timings.align, self._cuts = made.align_seconds, made.faces
        self._rows = [{} for _ in made.faces]
        wishes: dict[int, list[Wish[NDArray[np.uint8], Row]]] = {}
        for number, each in enumerate(made.faces):
            for index, crop in each.crops.items():
                done = partial(self._step, self._answered, number)
                wish = Wish(crop, self._deadline, done, self._is_wanted)
                wishes.setdefault(index, []).append(wish)
        self._num_missing = sum(map(len, wishes.values()))
        for index, each_wishes in wishes.items():
            self._stages.analyzers[index].put(each_wishes)

    def _answered(self, number: int, answered: Answered[Row] | ServiceError) -> None:
        """A face's row of one analyzer; several lanes may be here at once."""
        if isinstance(answered, ServiceError):
            raise answered
        with self._lock:
            self._rows[number].update(answered.value)
            self._timings.infer = max(self._timings.infer, answered.run_seconds)
            self._waited_seconds = max(self._waited_seconds, answered.queue_seconds)
            self._num_missing -= 1
            is_last = self._num_missing == 0
        if is_last:
            self._timings.queue += self._waited_seconds
            self._end()

    def _end(self) -> None:
        faces = tuple(
            replace(
                face,
                outputs={task: row[task] for task in self._options.tasks},
                quality=each.quality,
                crop=next(iter(each.crops.values())) if self._options.crops else None,
            )
            for face, each, row in zip(self._faces, self._cuts, self._rows, strict=True)
        )
        self._tell(ImageResult(self._upload.name, *self._size, faces))

    def _fail(self, error: ServiceError) -> None:
        forget_frames(error)
        of_this_image = isinstance(error, OF_ONE_IMAGE)
        self._tell(ImageResult(self._upload.name, error=error) if of_this_image else error)

    def _tell(self, end: ImageResult | ServiceError) -> None:
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
        self._ended(end, self._timings)


def _is_quick(data: bytes) -> bool:
    """Whether an image is decoded in some hundredths of a second at most: a JPEG that is not huge, as it is scaled."""
    return data.startswith(_JPEG) and len(data) <= _QUICK_BYTES
