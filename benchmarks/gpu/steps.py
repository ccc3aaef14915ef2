"""Steps: the service's own engine under changing shapes, run by run: nothing may be tuned or built anew on the way.

The engine warms itself up, as it does before the service is ready, and every run after that counts. Never leaves a slow
run out.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from clock import share_ms
from numpy.typing import NDArray
from report import SLOW, Steps

from model.runtime.session import Device
from service.onnx_engine import GPU_BUCKETS, open_engine


def measure_steps(
    pack: str, device: Device, photo: NDArray[np.uint8], num_runs: int, num_images: int, *, cuda_graphs: bool,
    tell: Callable[[str], None],
) -> Iterator[Steps]:  # fmt: skip
    """Runs of a bucket by lot and of crops by lot that are padded to it; then photographs of sizes by lot, one by one.

    Rows come ten times on the way, each time of all runs until then.
    """
    engine = open_engine(pack, device, cuda_graphs=cuda_graphs)
    start = time.perf_counter()
    engine.warm_up()
    name = f"{pack}{'' if cuda_graphs else ', without CUDA graphs'}"
    tell(f"warm after {time.perf_counter() - start:.1f} s")
    source = np.random.default_rng(1)
    side = engine.pack.analyzers[0].side_px
    crops = source.integers(0, 256, (GPU_BUCKETS[-1], side, side, 3), np.uint8)
    by_bucket: dict[str, list[float]] = defaultdict(list)
    for number, place in enumerate(source.integers(0, len(GPU_BUCKETS), num_runs), 1):
        bucket = GPU_BUCKETS[place]
        taken = crops[: source.integers(GPU_BUCKETS[place - 1] + 1 if place else 1, bucket + 1)]
        by_bucket[f"bucket {bucket}"].append(_ms(lambda taken=taken: engine.analyze(0, taken)))  # type: ignore[misc]
        if _is_told(number, num_runs):
            yield from _rows(f"{name}: analyzer", by_bucket)
    by_views: dict[str, list[float]] = defaultdict(list)
    for number, (height, width) in enumerate(source.integers(160, 1600, (num_images, 2)), 1):
        image = np.asarray(cv2.resize(photo, (int(width), int(height))), np.uint8)
        started = time.perf_counter()
        (found,) = engine.detect([image], 0.5)
        took = (time.perf_counter() - started) * 1000
        by_views[f"{found.num_views} looks"].append(took)
        if _is_told(number, num_images):
            yield from _rows(f"{name}: detector", by_views)


def _is_told(number: int, of: int) -> bool:
    """Whether rows are given after this run: ten times on the way and at the end, so that a cut leaves some."""
    return number == of or number % max(of // 10, 1) == 0


def _rows(what: str, by_kind: dict[str, list[float]]) -> Iterator[Steps]:
    every = [took for times in by_kind.values() for took in times]
    slow = {kind: sum(took > SLOW * share_ms(times, 50) for took in times) for kind, times in by_kind.items()}
    slow["all"] = sum(slow.values())
    for kind, times in {
        "all": every,
        **dict(sorted(by_kind.items(), key=lambda each: (len(each[0]), each[0]))),
    }.items():
        yield Steps(
            what=what, kind=kind, num=len(times), median_ms=share_ms(times, 50), p99_ms=share_ms(times, 99),
            p999_ms=share_ms(times, 99.9), max_ms=max(times), num_slow=slow[kind],
        )  # fmt: skip


def _ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000
