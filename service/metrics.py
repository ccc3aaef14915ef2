"""Metrics: what the service counts and times, for Prometheus. The one door to `prometheus_client`.

Each app has a registry of its own, so that two apps in one process never add to each other's figures. Of several
processes behind one port each counts in a file of its own, and whichever is asked adds all of them up. Never labels by
anything that a caller chooses freely (a path, a key, a name): the number of series is bounded.
"""

import functools
import os
from pathlib import Path
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.gc_collector import GCCollector
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
STAGES: Final = ("decode", "detect", "align", "queue", "infer", "total")
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ANSWERS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)


_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(folder: Path, identity: str) -> None:
    """Makes every `Metrics` of this process, from now on, count in a folder that other processes count in too.

    Args:
        folder: theirs.
        identity: this process's, without an underscore; one that follows it under the same goes on with its counters.
    """
    os.environ[_SHARED] = str(folder)
    # By default the process's number, of which each restart would leave files behind.
    values.ValueClass = values.MultiProcessValue(lambda: identity)


def forget_metrics(folder: Path, identity: str) -> None:
    """Takes a process that has ended out of what holds at the moment; what it has counted stays counted."""
    mark_process_dead(identity, str(folder))


class Metrics:
    """Counters, gauges and histograms of one app, or of all processes that share them."""

    def __init__(self) -> None:
        registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._registry = registry
        self.requests = Counter(
            "mien_requests", "Requests by route and status; 499 is a caller that hung up.", ["route", "status"],
            registry=registry,
        )  # fmt: skip
        self.answer_seconds = Histogram(
            "mien_answer_seconds",
            "Seconds from a request's headers to the last byte of its answer, by route and status.",
            ["route", "status"],
            buckets=_ANSWERS,
            registry=registry,
        )
        stage_seconds = Histogram(
            "mien_stage_seconds",
            "Seconds a request spent in each stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        # What each request asks for is looked up by its labels once.
        self.requests_of = functools.cache(self.requests.labels)
        self.answer_seconds_of = functools.cache(self.answer_seconds.labels)
        self.stages = {stage: stage_seconds.labels(stage) for stage in STAGES}
        self.queue_length = Gauge(
            "mien_queue_length", "Items that wait for a run.", ["model"], registry=registry, multiprocess_mode="livesum"
        )
        self.queue_seconds = Histogram(
            "mien_queue_wait_seconds", "Seconds an item waited for its run.", ["model"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.batch_size = Histogram(
            "mien_batch_size", "Items in one run.", ["model"], buckets=_BATCHES, registry=registry
        )
        self.failed_runs = Counter("mien_failed_runs", "Runs that failed.", ["model"], registry=registry)
        self.stalled_runs = Counter(
            "mien_stalled_runs", "Runs that outlasted the watchdog.", ["model"], registry=registry
        )
        self.nonfinite = Counter(
            "mien_nonfinite_answers",
            "Items refused because the model answered NaN or infinity.",
            ["model"],
            registry=registry,
        )
        self.dropped = Counter(
            "mien_dropped_items", "Items dropped before their run, by reason: cancelled, expired.", ["model", "reason"],
            registry=registry,
        )  # fmt: skip
        self.images = Counter(
            "mien_images", "Images analysed, by outcome: answered, refused.", ["outcome"], registry=registry
        )
        self.views = Counter(
            "mien_detector_views", "Looks of the detector at images: one each, and one for each further scale or tile.",
            registry=registry,
        )  # fmt: skip
        self.faces = Counter("mien_faces", "Faces answered.", registry=registry)
        self.rejected = Counter("mien_rejected", "Requests refused, by reason.", ["reason"], registry=registry)
        self.disconnects = Counter("mien_disconnects", "Callers that hung up before their answer.", registry=registry)
        self.late_heads = Counter(
            "mien_late_heads", "Connections closed because no request's head came in time.", registry=registry
        )
        self.in_flight = Gauge(
            "mien_images_in_flight", "Images admitted and not answered yet.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.ready = Gauge(
            "mien_ready", "1 while work is taken, else 0.", registry=registry, multiprocess_mode="livemax"
        )
        self.workers = Gauge(
            "mien_workers", "Processes that take work.", registry=registry, multiprocess_mode="livesum"
        )
        self.worker_restarts = Counter(
            "mien_worker_restarts", "Workers replaced, by reason: died, stalled, silent.", ["reason"], registry=registry
        )
        self.model_info = Gauge(
            "mien_model_info",
            "The pack that is served, on what and in which precision; always 1.",
            ["name", "version", "embedding_space", "device", "precision"],
            registry=registry,
            multiprocess_mode="livemax",
        )

    def render(self) -> bytes:
        """Everything, in Prometheus' text format; of several processes, without Python's and the process's own."""
        registry, shared = self._registry, os.environ.get(_SHARED)
        if shared is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, shared)
        return generate_latest(registry)
