"""The page of results: what the JSON file holds, as tables for people, each figure beside the GPU's own limit.

Never measures, and never leaves an omission out.
"""

from collections.abc import Iterable, Iterator, Sequence

from prose import causes, of_network, of_service, of_steps
from report import SLOW, Limits, Precision, Report, Timing, Work

_BYTES: dict[Precision, int] = {"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2}


def limit_ms(work: Work, limits: Limits, precision: Precision, batch: int) -> float:
    """The least time of a run: its operations at the best rate, or its bytes at the best copy, whichever is longer.

    Weights are read once a run, crops read and answers written once a face; nothing in between is counted.
    """
    seconds = batch * work.gflop_a_face / 1e3 / limits.rates[precision]
    moved = work.million_parameters * 1e6 * _BYTES[precision] + batch * work.bytes_a_face
    return 1000 * max(seconds, moved / 1e9 / limits.copy_gb)


def markdown(report: Report) -> str:
    """The whole page."""
    return "\n".join([*_head(report), *_networks(report), *_steps(report), *_served(report), *_omitted(report)]) + "\n"


def _head(report: Report) -> Iterator[str]:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    yield "# On a GPU\n"
    yield f"{machine.gpu}, driver {machine.driver}; {machine.processor}, {machine.num_cores} cores; {versions}."
    yield f"Measured {machine.date} by `{machine.command}`."
    yield "Figures of other cards or days are not to be held against these.\n"
    if limits := report.limits:
        yield f"What the card does at its best: products of two {limits.side} x {limits.side} matrices, copies of its"
        yield "own memory.\n"
        yield from _table(
            ("limit", "measured"),
            [
                *((f"{precision}, TFLOP/s", f"{rate:.1f}") for precision, rate in limits.rates.items()),
                ("memory, GB/s read and written", f"{limits.copy_gb:.0f}"),
                ("64 crops to the card, pageable memory", f"{limits.pageable_ms:.3f} ms"),
                ("64 crops to the card through page-locked memory", f"{limits.page_locked_ms:.3f} ms"),
            ],
        )


def _networks(report: Report) -> Iterator[str]:
    for work in report.works:
        timings = [timing for timing in report.timings if timing.network == work.network]
        yield f"## {work.network}\n"
        yield f"{work.gflop_a_face:.3f} GFLOP a face, {work.million_parameters:.1f} million weights. Milliseconds a"
        yield "run, the copies from and to the host included: median (99th percentile). `limit` is what no way"
        yield "of running it can be under.\n"
        batches = sorted({timing.batch for timing in timings})
        if not batches:
            continue
        yield from _table(("way", *map(str, batches)), _times(report, work, timings, batches))
        yield from of_network(timings)
        yield "Faces a second at the largest batch, the share of the limit, and how far answers are from float32 on the"
        yield "processor:\n"
        largest = [timing for timing in timings if timing.batch == batches[-1]]
        rows = sorted(largest, key=lambda timing: timing.median_ms)
        yield from _table(
            ("way", "faces a second", "share of the limit", "least cosine", "largest difference of a probability"),
            [_rate(report, work, timing) for timing in rows],
        )


def _times(report: Report, work: Work, timings: Sequence[Timing], batches: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for precision in dict.fromkeys(timing.precision for timing in timings):
        if report.limits:
            limits = (f"{limit_ms(work, report.limits, precision, batch):.3f}" for batch in batches)
            yield f"limit, {precision}", *limits
        for name in dict.fromkeys(_name(timing) for timing in timings if timing.precision == precision):
            found = {timing.batch: timing for timing in timings if _name(timing) == name}
            yield name, *(f"{found[b].median_ms:.3f} ({found[b].p99_ms:.3f})" if b in found else "" for b in batches)


def _rate(report: Report, work: Work, timing: Timing) -> tuple[str, ...]:
    share = limit_ms(work, report.limits, timing.precision, timing.batch) / timing.median_ms if report.limits else 0
    return (
        _name(timing),
        f"{timing.batch / timing.median_ms * 1000:,.0f}",
        f"{share:.1%}" if report.limits else "",
        f"{timing.cosine_min:.6f}",
        f"{timing.difference_max:.2g}",
    )


def _name(timing: Timing) -> str:
    return f"{timing.engine}, {timing.precision}, {timing.way}"


def _steps(report: Report) -> Iterator[str]:
    if report.steps:
        yield "## Changing shapes\n"
        yield "The service's own engine, warmed as before `/readyz`, every run counted: buckets by lot, each filled by"
        yield "a number of crops by lot, then photographs of 160 to 1600 pixels a side by lot. A shape that were tuned"
        yield f"on the way would show in `greatest / median`, and in what took over {SLOW} times its kind's median.\n"
        yield from _table(
            ("runs", "of", "number", "median ms", "99 %", "99.9 %", "greatest", "greatest / median", f"over {SLOW} x"),
            [
                (
                    row.what, row.kind, f"{row.num:,}",
                    *(f"{value:.2f}" for value in (row.median_ms, row.p99_ms, row.p999_ms, row.max_ms)),
                    f"{row.max_ms / row.median_ms:.2f}", f"{row.num_slow:,}",
                )
                for row in report.steps
            ],
        )  # fmt: skip
        yield from of_steps(report.steps)


def _served(report: Report) -> Iterator[str]:
    if report.served:
        yield "## The service\n"
        yield "`mien serve --device cuda` under the load generator of `mien bench`, which shares the processor.\n"
        yield from _table(
            (
                *("request", "workers", "CUDA graphs", "clients", "images/s", "faces/s", "median ms", "99 %"),
                "server's cores",
            ),
            [
                (
                    row.request, str(row.workers), "on" if row.cuda_graphs else "off", str(row.num_clients),
                    f"{row.images_a_second:,.0f}", f"{row.faces_a_second:,.0f}", f"{row.p50_ms:.1f}",
                    f"{row.p99_ms:.1f}", f"{row.server_cores:.1f}",
                )
                for row in report.served
            ],
        )  # fmt: skip
        yield from of_service(report.served)


def _omitted(report: Report) -> Iterator[str]:
    if report.omissions or report.notes:
        yield "## Left out, and notes\n"
        yield from (f"- {line}" for line in causes(report.omissions))
        yield from (f"- {note}" for note in report.notes)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
