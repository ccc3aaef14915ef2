"""What the tables show, in sentences: what was quickest, what recording gains, what was slow, and why rows are missing.

Every figure is taken from the report. Never measures, and never says what no row says.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from report import SLOW, Omission, Served, Steps, Timing

_RECORDED = "CUDA graphs"


def of_network(timings: Sequence[Timing]) -> Iterator[str]:
    """The quickest ways at the smallest and the largest batch, and what recording gains there."""
    for batch in sorted({min(timing.batch for timing in timings), max(timing.batch for timing in timings)}):
        best = min((timing for timing in timings if timing.batch == batch), key=lambda timing: timing.median_ms)
        yield (
            f"At a batch of {batch} the quickest is {best.engine} in {best.precision}, {best.way}: "
            f"{best.median_ms:.2f} ms, {batch / best.median_ms * 1000:,.0f} faces a second."
        )
        found = {(timing.precision, timing.way): timing for timing in timings if timing.batch == batch}
        gains = [
            f"{precision} from {found[precision, 'plain'].median_ms:.2f} to {timing.median_ms:.2f} ms"
            for (precision, way), timing in found.items()
            if way == _RECORDED and (precision, "plain") in found
        ]
        if gains:
            yield f"Recorded as CUDA graphs, onnxruntime goes {_joined(gains)}."
    yield ""


def of_steps(steps: Sequence[Steps]) -> Iterator[str]:
    """How many runs were slow, by what ran."""
    for row in steps:
        if row.kind == "all":
            slow = f"{row.num_slow:,} of {row.num:,} runs" if row.num_slow else f"none of {row.num:,} runs"
            yield f"{row.what}: {slow} took over {SLOW} times the median of its own kind."
    yield ""


def of_service(rows: Sequence[Served]) -> Iterator[str]:
    """The best rate of each request, and by what."""
    for request in dict.fromkeys(row.request for row in rows):
        best = max((row for row in rows if row.request == request), key=lambda row: row.images_a_second)
        yield (
            f"{request.capitalize()}: at best {best.images_a_second:,.0f} images and {best.faces_a_second:,.0f} faces "
            f"a second, by {best.workers} {'worker' if best.workers == 1 else 'workers'}, "
            f"CUDA graphs {'on' if best.cuda_graphs else 'off'}, on {best.server_cores:.1f} of the processor's cores."
        )
    yield ""


def causes(omissions: Sequence[Omission]) -> Iterator[str]:
    """One line a cause, whatever number of rows it took: what is missing, its batches together, and why."""
    by_cause: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for omission in omissions:
        what, _, batch = omission.what.partition(", batch ")
        by_cause[omission.why][what].append(batch)
    for why, parts in by_cause.items():
        whats = [what + (f" (batch {', '.join(batches)})" if any(batches) else "") for what, batches in parts.items()]
        yield f"{'; '.join(whats)}: {why}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
