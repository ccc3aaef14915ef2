"""Steady load: how long answers take while the service does a stated share of what it can.

Arrivals are by schedule, evenly spaced and at random; latency counts from when a request was due. Never measures the
share and the latency at different times: each round finds the throughput anew.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.bench.connections import connected
from service.bench.contenders import Contender
from service.bench.load import OK, Arrival, LoadError, at_random, closed_loop, evenly, scheduled
from service.bench.requests import Request
from service.bench.results import Spread, SteadyRow, percentile

PEAK_CLIENTS: Final = 16
ARRIVALS: Final = ("evenly spaced", "at random")


@dataclass(frozen=True, slots=True)
class _Round:
    """Requests a second at the most, a lone client's median latency, and latencies by the kind of arrivals."""

    peak: float
    unloaded: float
    seconds: dict[str, list[float]]


def steady(
    service: Contender,
    requests: Sequence[Request],
    share: float,
    num_rounds: int,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> list[SteadyRow]:
    """Measures each request under both kinds of arrivals.

    Raises:
        LoadError: if an answer is lost or is not 200.
    """
    rows = []
    for request in requests:
        tell(f"steady load: {request.name}")
        rounds = [asyncio.run(_round(service, request, share, seconds, seed)) for seed in range(num_rounds)]
        rows += [_row(request, name, share, rounds) for name in ARRIVALS]
    return rows


def _row(request: Request, name: str, share: float, rounds: Sequence[_Round]) -> SteadyRow:
    p99 = [percentile(each.seconds[name], 0.99) for each in rounds]
    return SteadyRow(
        request=request.name,
        arrivals=name,
        requests_a_second=Spread.of(share * each.peak for each in rounds),
        unloaded_p50_ms=Spread.of(1000 * each.unloaded for each in rounds),
        p50_ms=Spread.of(1000 * percentile(each.seconds[name], 0.5) for each in rounds),
        p99_ms=Spread.of(1000 * value for value in p99),
        ratio=Spread.of(value / each.unloaded for value, each in zip(p99, rounds, strict=True)),
    )


async def _round(service: Contender, request: Request, share: float, seconds: float, seed: int) -> _Round:
    wire = service.wire(request)
    brief = max(seconds / 5, min(seconds, 1.0))
    alone = await closed_loop(service.port, wire, 1, brief, service.tree)
    peak = await closed_loop(service.port, wire, PEAK_CLIENTS, brief, service.tree)
    rate = share * peak.requests_a_second
    schedules = (evenly(rate, seconds), at_random(rate, seconds, seed) or evenly(rate, seconds))
    async with connected(service.port) as pool:
        under = {
            name: _latencies(await scheduled(pool, wire, due)) for name, due in zip(ARRIVALS, schedules, strict=True)
        }
    return _Round(peak.requests_a_second, percentile(alone.seconds, 0.5), under)


def _latencies(arrivals: Sequence[Arrival]) -> list[float]:
    wrong = [arrival.status for arrival in arrivals if arrival.status != OK]
    if wrong:
        raise LoadError(f"under steady load {len(wrong)} of {len(arrivals)} answers were {wrong[0]}")
    return [arrival.seconds for arrival in arrivals]
