"""Goals: what the service is held to, and what was measured of each; a goal that nothing was measured for says so.

Holds the goals' numbers in one place. Never rounds in the service's favour: what is compared is what was measured.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from service.bench.duels import RAW
from service.bench.floor import CONSTANT
from service.bench.results import Duel, OverloadRow, Report
from service.bench.steady import ARRIVALS

RAW_SHARE: Final = 0.97
RAW_CLIENTS: Final = 16
RIVAL_LEAST: Final = 1.0
RIVAL_MEAN: Final = 1.15
STEADY_RATIO: Final = 2.0
ACCEPTED_SHARE: Final = 0.95
REFUSED_MS: Final = 10.0
PROBE_MS: Final = 50.0
RECOVERY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal, what was measured, and whether that meets it."""

    goal: str
    measured: str
    is_met: bool


def verdicts(report: Report) -> list[Verdict]:
    """A verdict on each goal that something was measured for."""
    return [*_of_raw(report), *_of_rivals(report), *_of_steady(report), *_of_overload(report)]


def best_rivals(report: Report) -> dict[tuple[str, int], tuple[str, float]]:
    """Of each request and number of clients, the rival that comes nearest or is ahead, and mien's median ratio."""
    best: dict[tuple[str, int], tuple[str, float]] = {}
    for name, duel in _rivals(report).items():
        for row in duel.rows:
            key = row.request, row.num_clients
            if key not in best or row.ratio.median < best[key][1]:
                best[key] = name, row.ratio.median
    return best


def _rivals(report: Report) -> dict[str, Duel]:
    return {name: duel for name, duel in report.duels.items() if name != RAW}


def _of_raw(report: Report) -> Iterator[Verdict]:
    duel = report.duels.get(RAW)
    rows = [row for row in duel.rows if row.num_clients == RAW_CLIENTS] if duel else []
    if rows:
        worst = min(rows, key=lambda row: row.ratio_a_cpu_second.median)
        yield Verdict(
            f"at least {RAW_SHARE} of the raw loop an own CPU second, {RAW_CLIENTS} clients",
            f"least: {worst.ratio_a_cpu_second.shown(3)}, {worst.request}; "
            f"the load generator beside it took {worst.service.generator_cores.median:.3f} cores",
            worst.ratio_a_cpu_second.median >= RAW_SHARE,
        )


def _of_rivals(report: Report) -> Iterator[Verdict]:
    best = best_rivals(report)
    if not best:
        return
    (request, num_clients), (name, ratio) = min(best.items(), key=lambda each: each[1][1])
    yield Verdict(
        f"at least {RIVAL_LEAST:.1f} of the best rival in every row",
        f"least: {ratio:.3f}, {request}, {num_clients} clients, {name}",
        ratio >= RIVAL_LEAST,
    )
    mean = statistics.mean(ratio for _, ratio in best.values())
    yield Verdict(f"{RIVAL_MEAN} of the best rival in the mean of all rows", f"{mean:.3f}", mean >= RIVAL_MEAN)


def _of_steady(report: Report) -> Iterator[Verdict]:
    for arrivals in ARRIVALS:
        rows = [row for row in report.steady.rows if row.arrivals == arrivals] if report.steady else []
        if rows and report.steady:
            worst = max(rows, key=lambda row: row.ratio.median)
            yield Verdict(
                f"p99 at {report.steady.share:.0%} load within {STEADY_RATIO:g} times the unloaded latency, {arrivals}",
                f"most: {worst.ratio.shown(2)}, {worst.request}",
                worst.ratio.median <= STEADY_RATIO,
            )


def _of_overload(report: Report) -> Iterator[Verdict]:
    if report.overload is None:
        return
    rows, deadline_ms = report.overload.rows, report.overload.deadline_ms
    over = [row for row in rows if row.times > 1]
    yield from (
        _worst(
            f"accepted at {ACCEPTED_SHARE} of the throughput or better", over, lambda row: -row.accepted_share,
            lambda row: f"{row.accepted_share:.3f} (an own CPU second {row.accepted_share_a_cpu_second:.3f}; "
            f"the load generator took {row.generator_cores:.2f} cores)",
            lambda row: row.accepted_share >= ACCEPTED_SHARE,
        ),
        _worst(
            f"accepted p99 within the deadline of {deadline_ms} ms", over, lambda row: row.accepted_p99_ms,
            lambda row: f"{row.accepted_p99_ms:.0f} ms", lambda row: row.accepted_p99_ms <= deadline_ms,
        ),
        _inside(over, "/analyze 429", REFUSED_MS),
        _inside(over, "/livez 200", PROBE_MS),
        _inside(over, "/metrics 200", PROBE_MS),
        _worst(
            "nothing accepted is lost", rows, lambda row: row.num_lost,
            lambda row: f"{row.num_lost} of {row.num_sent}", lambda row: row.num_lost == 0,
        ),
        _worst(
            f"recovery within {RECOVERY_SECONDS:g} s: accepted again", rows, lambda row: row.seconds_to_accept,
            lambda row: f"{row.seconds_to_accept:.2f} s", lambda row: row.seconds_to_accept <= RECOVERY_SECONDS,
        ),
        _worst(
            f"recovery within {RECOVERY_SECONDS:g} s: as quick as unloaded", rows, lambda row: row.seconds_to_unloaded,
            lambda row: f"{row.seconds_to_unloaded:.2f} s", lambda row: row.seconds_to_unloaded <= RECOVERY_SECONDS,
        ),
    )  # fmt: skip


def _inside(rows: list[OverloadRow], key: str, most_ms: float) -> Verdict:
    def p99_ms(row: OverloadRow) -> float:
        return row.inside[key].p99_ms if key in row.inside else 0.0

    def shown(row: OverloadRow) -> str:
        floor = row.floor_inside
        beside = f"; {CONSTANT[1:]} answer beside it {floor.p99_ms:g} ms" if floor else ""
        return f"p99 at most {p99_ms(row):g} ms of {row.inside[key].count if key in row.inside else 0}{beside}"

    return _worst(
        f"{key} within {most_ms:g} ms inside the service", rows, p99_ms, shown, lambda row: p99_ms(row) <= most_ms
    )


def _worst(
    goal: str,
    rows: list[OverloadRow],
    badness: Callable[[OverloadRow], float],
    shown: Callable[[OverloadRow], str],
    is_met: Callable[[OverloadRow], bool],
) -> Verdict:
    if not rows:
        return Verdict(goal, "not measured", False)
    worst = max(rows, key=badness)
    return Verdict(goal, f"worst: {shown(worst)}, at {worst.times:g} times", all(map(is_met, rows)))
