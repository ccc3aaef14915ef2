"""Ray Serve: an HTTP proxy, and as many replica processes as cores, each with the whole pipeline.

Never batches: on a CPU a run costs what its rows cost.
"""

import os
import signal
import threading

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from chosen import HOST, NUM_CORES, PATH, PORT, pipeline
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=NUM_CORES, max_ongoing_requests=2, ray_actor_options={"num_cpus": 1})
class Analyze:
    """What each replica does."""

    def __init__(self) -> None:
        self._pipeline = pipeline()

    async def __call__(self, request: Request) -> Response:
        """Answers one request."""
        return Response(self._pipeline.answer(await request.body()), media_type="application/json")


if __name__ == "__main__":
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    ray.init(num_cpus=NUM_CORES, include_dashboard=False, configure_logging=False, log_to_driver=False)
    serve.start(http_options={"host": HOST, "port": PORT})
    serve.run(Analyze.bind(), route_prefix=PATH, name="mien")  # type: ignore[attr-defined] # the decorator adds it
    stopped.wait()
    serve.shutdown()
    ray.shutdown()
