"""Results: what the bench measured, as it is kept in JSON and shown in tables.

Every figure is a spread over rounds: least, median, most. Holds plain values alone; never a figure that was not
measured.
"""

import statistics
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Value):
    """Least, median and most over the rounds of one run."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of at least one value."""
        kept = list(values)
        return cls(minimum=min(kept), median=statistics.median(kept), maximum=max(kept))

    def shown(self, digits: int) -> str:
        """The median, and the least and most in brackets."""
        return f"{self.median:.{digits}f} ({self.minimum:.{digits}f} to {self.maximum:.{digits}f})"


class Made(_Value):
    """When a part was measured, and by which command; parts of one report may come of several runs."""

    date: str
    command: str


class Machine(_Value):
    """Where it ran, and with which versions."""

    processor: str
    num_cores: int
    memory_gb: float
    system: str
    versions: dict[str, str]
    pack: str
    precision: str
    load_before: float


class Side(_Value):
    """One contender's figures in one row. Memory is resident, in MB of 1,000,000 bytes."""

    images_a_second: Spread
    faces_a_second: Spread
    p50_ms: Spread
    p95_ms: Spread
    p99_ms: Spread
    cpu_seconds_an_image: Spread
    generator_cores: Spread
    peak_mb: Spread
    peak_mb_an_image: Spread


class Row(_Value):
    """One kind of request from so many clients. `ratio` is mien's images a second by the opponent's, round by round."""

    request: str
    num_images: int
    num_faces: int
    num_bytes: int
    num_clients: int
    service: Side
    opponent: Side
    ratio: Spread
    ratio_a_cpu_second: Spread


class Duel(_Value):
    """mien and one opponent, in turns."""

    made: Made
    opponent: str
    num_rounds: int
    seconds: float
    rows: list[Row]


class SteadyRow(_Value):
    """Latency under a share of what the service can do, arrivals by schedule, beside that of a lone client."""

    request: str
    arrivals: str
    requests_a_second: Spread
    unloaded_p50_ms: Spread
    p50_ms: Spread
    p99_ms: Spread
    ratio: Spread


class Steady(_Value):
    """Latency under a share of the throughput."""

    made: Made
    share: float
    num_rounds: int
    seconds: float
    rows: list[SteadyRow]


class Inside(_Value):
    """What the service itself measured, from a request's headers to its answer's last byte; bounds of buckets."""

    count: int
    p50_ms: float
    p99_ms: float


class OverloadRow(_Value):
    """One step of the overload: so many times the throughput was offered."""

    times: float
    offered_a_second: float
    sent_a_second: float
    num_sent: int
    statuses: dict[str, int]
    accepted_a_second: float
    peak_a_second: float
    accepted_share: float
    accepted_share_a_cpu_second: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused_p99_ms: float | None
    inside: dict[str, Inside]
    floor_inside: Inside | None
    floor_p99_ms: float
    livez_p99_ms: float
    metrics_p99_ms: float
    num_lost: int
    service_cores: float
    generator_cores: float
    seconds_to_accept: float
    seconds_to_unloaded: float


class Overload(_Value):
    """What happens to a service that is asked for more than it can do."""

    made: Made
    request: str
    deadline_ms: int
    seconds: float
    unloaded_p50_ms: float
    rows: list[OverloadRow]


class Report(_Value):
    """Everything, with what was left out and why."""

    machine: Machine
    duels: dict[str, Duel] = {}
    steady: Steady | None = None
    overload: Overload | None = None
    left_out: dict[str, str] = {}


def percentile(values: Iterable[float], share: float) -> float:
    """The value that at least this share of the values do not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
