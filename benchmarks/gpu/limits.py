"""The GPU's own limits: its best matrix product in each precision, and how fast it copies its own memory.

Every figure of a network is held against these, measured on the same card minutes before. Never uses a data sheet.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from report import PRECISIONS, Limits, Precision

_TYPES: Final[dict[Precision, torch.dtype]] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def measure_limits(device: torch.device, side: int, copied_bytes: int, num_runs: int) -> Limits:
    """Products of two square matrices of normal numbers, and copies of one buffer to another; medians of the runs."""
    rates = {}
    for precision in PRECISIONS:
        left, right = (torch.randn(side, side, device=device, dtype=_TYPES[precision]) for _ in range(2))
        with rounding(precision):
            rates[precision] = 2 * side**3 / _seconds(lambda a=left, b=right: a @ b, device, num_runs) / 1e12  # type: ignore[misc]
    source = torch.randint(0, 256, (copied_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * copied_bytes / _seconds(lambda: target.copy_(source), device, num_runs) / 1e9
    pageable, page_locked = _from_host(device, num_runs)
    return Limits(side=side, rates=rates, copy_gb=copied, pageable_ms=pageable, page_locked_ms=page_locked)


@contextmanager
def rounding(precision: Precision) -> Iterator[None]:
    """Whether products of float32 are rounded to TensorFloat-32, for as long as the context is open."""
    wanted = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def wait(device: torch.device) -> None:
    """Returns when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _from_host(device: torch.device, num_runs: int) -> tuple[float, float]:
    crops = torch.randint(0, 256, (64, 112, 112, 3), dtype=torch.uint8)
    target = torch.empty_like(crops, device=device)
    staged = crops.pin_memory() if device.type == "cuda" else crops.clone()

    def through_staging() -> None:
        staged.copy_(crops)
        target.copy_(staged, non_blocking=True)

    plain = _seconds(lambda: target.copy_(crops), device, num_runs)
    return plain * 1000, _seconds(through_staging, device, num_runs) * 1000


def _seconds(call: Callable[[], object], device: torch.device, num_runs: int) -> float:
    for _ in range(3):
        call()
    wait(device)
    found = []
    for _ in range(num_runs):
        start = time.perf_counter()
        call()
        wait(device)
        found.append(time.perf_counter() - start)
    return statistics.median(found)
