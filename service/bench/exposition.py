"""Exposition: histograms read back from Prometheus' text format, and what came to them between two readings.

Never interpolates: a percentile is the upper bound of the bucket that it falls into, so it is never stated too low.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.bench.results import Inside

ANSWER_SECONDS: Final = "mien_answer_seconds"
_BUCKET: Final = re.compile(
    rf'^{ANSWER_SECONDS}_bucket{{le="([^"]+)",route="([^"]+)",status="([^"]+)"}} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values up to each bound in seconds, cumulative."""

    counts: Mapping[float, float]

    def since(self, before: "Histogram") -> "Histogram":
        """What came after an earlier reading."""
        return Histogram({bound: count - before.counts.get(bound, 0) for bound, count in self.counts.items()})

    def inside(self) -> Inside | None:
        """The percentiles; None where nothing came."""
        if not self.counts or max(self.counts.values()) <= 0:
            return None
        return Inside(count=int(max(self.counts.values())), p50_ms=self._ms(0.5), p99_ms=self._ms(0.99))

    def _ms(self, share: float) -> float:
        wanted = share * max(self.counts.values())
        return 1000 * next(bound for bound, count in sorted(self.counts.items()) if count >= wanted)


def answer_histograms(text: str) -> dict[str, Histogram]:
    """Of each route and status, as `/livez 200`, how long answers took inside the service."""
    counts: dict[str, dict[float, float]] = {}
    for bound, route, status, count in _BUCKET.findall(text):
        counts.setdefault(f"{route} {status}", {})[float(bound)] = float(count)
    return {key: Histogram(buckets) for key, buckets in counts.items()}
