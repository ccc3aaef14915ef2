"""The page: a report as Markdown, for `docs/benchmarks.md` and for a terminal.

Every figure comes out of the report. Never says anything that was not measured, and never leaves out what came out
badly.
"""

from collections.abc import Iterable, Iterator

from service.bench.duels import RAW
from service.bench.goals import best_rivals, verdicts
from service.bench.results import Duel, Made, Overload, Report, Row, Steady

_INTRODUCTION = """# Benchmarks

Made by `mien bench`, which starts the real service as a process of its own and loads it from another; not a word of it
is typed. Each figure is the median of the rounds of one run, with the least and the most in brackets. mien and what it
is held against took turns, so that ratios hold where the figures themselves wander. Figures of other machines or other
times are not to be compared with these.
"""


def markdown(report: Report, plot: str | None = None) -> str:
    """The whole page.

    Args:
        report: what was measured.
        plot: the picture's name beside the page; None for none.
    """
    parts = [_INTRODUCTION, _machine(report), _goals(report)]
    if plot is not None:
        parts.append(f"![mien's throughput by each opponent's]({plot})\n")
    raw = report.duels.get(RAW)
    if raw is not None:
        parts += [_throughput(raw), _against_raw(raw)]
    if best_rivals(report):
        parts.append(_rivals(report))
    if report.left_out:
        lines = [f"- {name}: {why}" for name, why in report.left_out.items()]
        parts.append("\n".join(["## Left out", "", *lines, ""]))
    parts += [_steady(report.steady)] if report.steady else []
    parts += [_overload(report.overload)] if report.overload else []
    return "\n".join(parts)


def goals_table(report: Report) -> list[tuple[str, str, str]]:
    """Goal, what was measured, whether it is met."""
    return [(each.goal, each.measured, "yes" if each.is_met else "no") for each in verdicts(report)]


def _machine(report: Report) -> str:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    rows = [
        ("Processor", f"{machine.processor}, {machine.num_cores} cores that may be used"),
        ("Memory", f"{machine.memory_gb:g} GB"),
        ("System", machine.system),
        ("Versions", versions),
        ("Pack", f"{machine.pack}, {machine.precision}"),
        ("Load average before", f"{machine.load_before:g}"),
    ]
    return "\n".join(["## Machine", "", *_table(("What", "Which"), rows), ""])


def _goals(report: Report) -> str:
    return "\n".join(["## Goals", "", *_table(("Goal", "Measured", "Met"), goals_table(report)), ""])


def _throughput(duel: Duel) -> str:
    head = ("Request", "Clients", "Images/s", "Faces/s", "p50 ms", "p95 ms", "p99 ms", "CPU s an image",
            "Generator's cores", "Peak MB", "of it MB an image")  # fmt: skip
    rows = [
        (
            _named(row), str(row.num_clients), row.service.images_a_second.shown(1),
            f"{row.service.faces_a_second.median:.1f}",
            row.service.p50_ms.shown(1), f"{row.service.p95_ms.median:.1f}", row.service.p99_ms.shown(1),
            row.service.cpu_seconds_an_image.shown(4), f"{row.service.generator_cores.median:.2f}",
            f"{row.service.peak_mb.median:.0f}", f"{row.service.peak_mb_an_image.median:.1f}",
        )
        for row in duel.rows
    ]  # fmt: skip
    note = (
        "Memory an image is what the peak adds to the service before any load, by images in flight. The load generator "
        "is a process beside the service on the same cores."
    )
    return "\n".join(["## Throughput", "", _of(duel.made, duel), "", *_table(head, rows), "", note, ""])


def _against_raw(duel: Duel) -> str:
    head = ("Request", "Clients", "Raw images/s", "mien by raw", "an own CPU second", "Raw CPU s an image")
    rows = [
        (
            _named(row), str(row.num_clients), row.opponent.images_a_second.shown(1), row.ratio.shown(3),
            row.ratio_a_cpu_second.shown(3), row.opponent.cpu_seconds_an_image.shown(4),
        )
        for row in duel.rows
    ]  # fmt: skip
    note = (
        "The raw loop decodes, detects, aligns and infers on as many threads as cores, with no server, queue or JSON. "
        "On the same cores the load generator takes its share of the service's time: the ratio an own CPU second "
        "leaves that out."
    )
    return "\n".join(["## Against the raw loop", "", *_table(head, rows), "", note, ""])


def _rivals(report: Report) -> str:
    best, duels = best_rivals(report), {name: duel for name, duel in report.duels.items() if name != RAW}
    found = {(name, row.request, row.num_clients): row for name, duel in duels.items() for row in duel.rows}
    rows = []
    for (request, num_clients), (nearest, ratio) in best.items():
        cells = [
            row.ratio.shown(2) if (row := found.get((name, request, num_clients))) is not None else "" for name in duels
        ]
        rows.append((request, str(num_clients), *cells, f"{ratio:.3f}, {nearest}"))
    memory = [
        (
            name,
            f"{duel.rows[0].opponent.peak_mb.median:.0f}",
            f"{duel.rows[0].service.peak_mb.median:.0f}",
            duel.rows[0].request,
        )
        for name, duel in duels.items()
        if duel.rows
    ]
    note = (
        "mien's images a second by the rival's. Each rival runs the same pipeline on the same pack, one process or "
        "thread a core."
    )
    made = [f"{name}: {_of(duel.made, duel)}" for name, duel in duels.items()]
    return "\n".join(
        [
            "## Against rivals", "", note, "",
            *_table(("Request", "Clients", *duels, "Nearest rival"), rows), "",
            *_table(("Rival", "Its peak MB", "mien's beside it", "Request"), memory), "",
            "Pages that a rival's processes share count once a process.", "",
            *(line + "\n" for line in made),
        ]
    )  # fmt: skip


def _steady(steady: Steady) -> str:
    head = ("Request", "Arrivals", "Requests/s", "Unloaded p50 ms", "p50 ms", "p99 ms", "p99 by unloaded")
    rows = [
        (
            row.request, row.arrivals, row.requests_a_second.shown(1), row.unloaded_p50_ms.shown(1),
            row.p50_ms.shown(1), row.p99_ms.shown(1), row.ratio.shown(2),
        )
        for row in steady.rows
    ]  # fmt: skip
    what = f"{steady.num_rounds} rounds of {steady.seconds:g} s each. Latency counts from when a request was due."
    title = f"## Latency at {steady.share:.0%} of the throughput"
    return "\n".join([title, "", _command(steady.made), "", what, "", *_table(head, rows), ""])


def _overload(overload: Overload) -> str:
    columns = [f"{row.times:g} times" for row in overload.rows]
    lines: list[tuple[str, list[str]]] = [
        ("Offered a second", [f"{row.offered_a_second:.1f}" for row in overload.rows]),
        ("Sent a second", [f"{row.sent_a_second:.1f}" for row in overload.rows]),
        ("Throughput before and after, in the mean, a second", [f"{row.peak_a_second:.1f}" for row in overload.rows]),
        ("Accepted a second", [f"{row.accepted_a_second:.1f}" for row in overload.rows]),
        ("by the throughput", [f"{row.accepted_share:.3f}" for row in overload.rows]),
        ("by the throughput, an own CPU second", [f"{row.accepted_share_a_cpu_second:.3f}" for row in overload.rows]),
        ("Accepted p50, p99 ms", [f"{row.accepted_p50_ms:.0f}, {row.accepted_p99_ms:.0f}" for row in overload.rows]),
        *(
            (f"{key} inside: p50, p99 at most ms", [_inside(overload, number, key) for number in range(len(columns))])
            for key in sorted({key for row in overload.rows for key in row.inside})
        ),
        ("429 at the client p99 ms", [_or_none(row.refused_p99_ms) for row in overload.rows]),
        ("/livez at the client p99 ms", [f"{row.livez_p99_ms:.0f}" for row in overload.rows]),
        ("/metrics at the client p99 ms", [f"{row.metrics_p99_ms:.0f}" for row in overload.rows]),
        ("Constant answer at the client p99 ms", [f"{row.floor_p99_ms:.0f}" for row in overload.rows]),
        ("Answers by status", [", ".join(f"{k}: {n}" for k, n in row.statuses.items()) for row in overload.rows]),
        ("Accepted and lost", [str(row.num_lost) for row in overload.rows]),
        (
            "Service's cores, generator's cores",
            [f"{row.service_cores:.2f}, {row.generator_cores:.2f}" for row in overload.rows],
        ),
        ("Seconds until accepted again", [f"{row.seconds_to_accept:.2f}" for row in overload.rows]),
        ("Seconds until as quick as unloaded", [f"{row.seconds_to_unloaded:.2f}" for row in overload.rows]),
    ]
    what = (
        f"{overload.request}, {overload.seconds:g} s a step, deadline {overload.deadline_ms} ms, a lone client's "
        f"median {overload.unloaded_p50_ms:.1f} ms. Inside is what the service measured itself, from the headers' "
        "arrival to the answer's last byte (`mien_answer_seconds`; upper bounds of its buckets). The constant answer "
        "is that of another server beside it."
    )
    rows = [(name, *cells) for name, cells in lines]
    return "\n".join(["## Overload", "", _command(overload.made), "", what, "", *_table(("What", *columns), rows), ""])


def _inside(overload: Overload, number: int, key: str) -> str:
    told = overload.rows[number].inside.get(key)
    return "" if told is None else f"{told.p50_ms:g}, {told.p99_ms:g} ({told.count})"


def _or_none(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _named(row: Row) -> str:
    size = f"{row.num_bytes / 1000:.0f} kB" if row.num_bytes < 1e6 else f"{row.num_bytes / 1e6:.1f} MB"
    return f"{row.request} ({row.num_faces} faces, {size})"


def _of(made: Made, duel: Duel) -> str:
    return f"{duel.num_rounds} rounds of {duel.seconds:g} s; {_command(made)}"


def _command(made: Made) -> str:
    return f"`{made.command}`, {made.date}."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for line in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(line)} |"
