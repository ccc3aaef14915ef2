"""Overload: many times the throughput is offered by schedule, and what becomes of it is told.

How much is accepted and how late, how soon the rest is refused and probes are answered (inside the service, and beside
it a constant answer), whether anything is lost, how soon all is well again. Never holds arrivals back for slow
answers.
"""

import asyncio
import collections
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.bench.connections import LostAnswerError, Pool, connected
from service.bench.contenders import Contender
from service.bench.exposition import Histogram, answer_histograms
from service.bench.floor import CONSTANT
from service.bench.load import LOST, OK, Arrival, Throughput, closed_loop, evenly, first_good, scheduled
from service.bench.requests import Request, get
from service.bench.results import OverloadRow, percentile
from service.bench.steady import PEAK_CLIENTS
from service.bench.usage import own_cpu_seconds

REFUSED: Final = 429
PROBES_A_SECOND: Final = 10
UNLOADED: Final = 2.0  # latency within so many times that of a lone client counts as unloaded
_LOSSES: Final = frozenset({LOST, 500, 504})  # accepted, and never answered as it should have been
_RECOVERY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Flood:
    """What is sent: to which service, what, how long, beside which constant answer."""

    service: Contender
    floor_port: int
    wire: bytes
    seconds: float
    unloaded_seconds: float


@dataclass(frozen=True, slots=True)
class _Flooded:
    """What came of one step."""

    arrivals: Sequence[Arrival]
    probes: dict[str, Sequence[Arrival]]
    inside: dict[str, Histogram]
    service_cores: float
    generator_cores: float
    seconds_to_accept: float
    seconds_to_unloaded: float


def overload(
    service: Contender,
    floor_port: int,
    request: Request,
    steps: Sequence[float],
    seconds: float,
    deadline_ms: int,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[float, list[OverloadRow]]:
    """A lone client's median latency in milliseconds, and a row a step.

    Args:
        service: mien's.
        floor_port: of the constant answer.
        request: what is sent.
        steps: how many times the throughput is offered.
        seconds: of each step.
        deadline_ms: that each request states.
        tell: told each step before it is measured.

    Raises:
        LoadError: if the service does not answer before or after a step.
    """
    wire, calm = request.to_service({"x-deadline-ms": str(deadline_ms)}), request.to_service()
    brief = max(seconds / 6, min(seconds, 1.0))
    alone = asyncio.run(closed_loop(service.port, calm, 1, brief, service.tree))
    unloaded = percentile(alone.seconds, 0.5)
    flood, rows = Flood(service, floor_port, wire, seconds, unloaded), []
    for times in steps:
        tell(f"overload: {times:g} times the throughput")
        before = asyncio.run(closed_loop(service.port, calm, PEAK_CLIENTS, brief, service.tree))
        offered = times * before.requests_a_second
        flooded = asyncio.run(_step(flood, offered))
        after = asyncio.run(closed_loop(service.port, calm, PEAK_CLIENTS, brief, service.tree))
        rows.append(_row(times, offered, (before, after), flooded, seconds))
    return 1000 * unloaded, rows


async def _step(flood: Flood, rate: float) -> _Flooded:
    service, seconds = flood.service, flood.seconds
    async with connected(service.port) as pool, connected(flood.floor_port) as floor:
        before = await _histograms(pool, floor)
        began, server, own = time.perf_counter(), service.tree.cpu_seconds(), own_cpu_seconds()
        due = evenly(PROBES_A_SECOND, seconds)
        flooding = asyncio.ensure_future(scheduled(pool, flood.wire, evenly(rate, seconds)))
        probing = {
            "/livez": asyncio.ensure_future(scheduled(pool, get("/livez"), due)),
            "/metrics": asyncio.ensure_future(scheduled(pool, get("/metrics"), due)),
            CONSTANT: asyncio.ensure_future(scheduled(floor, get(CONSTANT), due)),
        }
        await asyncio.sleep(max(began + seconds - time.perf_counter(), 0))
        took = time.perf_counter() - began
        cores = (service.tree.cpu_seconds() - server) / took, (own_cpu_seconds() - own) / took
        to_accept, to_unloaded = await _recovered(pool, flood)
        arrivals = await flooding
        probes: dict[str, Sequence[Arrival]] = {path: await arriving for path, arriving in probing.items()}
        after = await _histograms(pool, floor)
    inside = {key: after[key].since(before.get(key, Histogram({}))) for key in after}
    return _Flooded(arrivals, probes, inside, *cores, to_accept, to_unloaded)


async def _recovered(pool: Pool, flood: Flood) -> tuple[float, float]:
    """Seconds after the flood until a request is accepted, and until one is answered as quickly as to a lone client."""
    began = time.perf_counter()

    async def good(most_seconds: float) -> bool:
        sent = time.perf_counter()
        try:
            answered, _ = await pool.exchange(flood.wire)
        except LostAnswerError:
            return False
        await asyncio.sleep(0)  # a refusal comes at once: others take their turn
        return answered.status == OK and answered.at - sent <= most_seconds

    to_accept = await first_good(lambda: good(_RECOVERY_SECONDS), _RECOVERY_SECONDS)
    await first_good(lambda: good(UNLOADED * flood.unloaded_seconds), _RECOVERY_SECONDS)
    return to_accept, time.perf_counter() - began


async def _histograms(pool: Pool, floor: Pool) -> dict[str, Histogram]:
    read: dict[str, Histogram] = {}
    for each in (pool, floor):
        _, body = await each.exchange(get("/metrics"), keep_body=True)
        found = answer_histograms(body.decode())
        read |= found if each is pool else {key: value for key, value in found.items() if key.startswith(CONSTANT)}
    return read


def _row(times: float, offered: float, around: Sequence[Throughput], flooded: _Flooded, seconds: float) -> OverloadRow:
    arrivals = flooded.arrivals
    accepted = [arrival for arrival in arrivals if arrival.status == OK]
    in_time = sum(arrival.due + arrival.seconds <= seconds for arrival in accepted)
    rate = in_time / seconds
    refused = [arrival.seconds for arrival in arrivals if arrival.status == REFUSED]
    inside = {key: told for key, histogram in flooded.inside.items() if (told := histogram.inside()) is not None}
    statuses = collections.Counter(str(arrival.status) for arrival in arrivals)
    # A machine wanders by more in a minute than a flood costs: the greater of two short measurements would be its luck.
    peak = statistics.fmean(each.requests_a_second for each in around)
    cores = statistics.fmean(each.cpu_cores for each in around)
    a_cpu_second = rate / max(flooded.service_cores, 0.01)
    return OverloadRow(
        times=times,
        offered_a_second=offered,
        sent_a_second=len(arrivals) / max(seconds, max(arrival.sent for arrival in arrivals)),
        num_sent=len(arrivals),
        statuses=dict(sorted(statuses.items())),
        accepted_a_second=rate,
        peak_a_second=peak,
        accepted_share=rate / peak,
        accepted_share_a_cpu_second=a_cpu_second * max(cores, 0.01) / peak,
        accepted_p50_ms=_p(accepted, 0.5),
        accepted_p99_ms=_p(accepted, 0.99),
        refused_p99_ms=1000 * percentile(refused, 0.99) if refused else None,
        inside=inside,
        floor_inside=inside.get(f"{CONSTANT} 200"),
        floor_p99_ms=_p(flooded.probes[CONSTANT], 0.99),
        livez_p99_ms=_p(flooded.probes["/livez"], 0.99),
        metrics_p99_ms=_p(flooded.probes["/metrics"], 0.99),
        num_lost=sum(arrival.status in _LOSSES for arrival in arrivals),
        service_cores=flooded.service_cores,
        generator_cores=flooded.generator_cores,
        seconds_to_accept=flooded.seconds_to_accept,
        seconds_to_unloaded=flooded.seconds_to_unloaded,
    )


def _p(arrivals: Sequence[Arrival], share: float) -> float:
    return 1000 * percentile((arrival.seconds for arrival in arrivals), share) if arrivals else 0.0
