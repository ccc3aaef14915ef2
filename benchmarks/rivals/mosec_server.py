"""mosec: a Rust front end, and as many worker processes as cores, each with the whole pipeline.

Bytes go in and out as they are. Never batches: on a CPU a run costs what its rows cost.
"""

import sys

from chosen import HOST, NUM_CORES, PATH, PORT, pipeline
from mosec import Runtime, Server, Worker


class Analyze(Worker):  # type: ignore[misc] # where mosec is absent
    """One worker process."""

    resp_mime_type = "application/json"

    def __init__(self) -> None:
        super().__init__()
        self._pipeline = pipeline()

    def deserialize(self, data: bytes) -> bytes:
        """The request's body."""
        return data

    def serialize(self, data: bytes) -> bytes:
        """The answer's body."""
        return data

    def forward(self, data: bytes) -> bytes:
        """Answers one request."""
        return self._pipeline.answer(data)


if __name__ == "__main__":
    limits = ["--max-request-size", "40000000", "--timeout", "120000", "--log-level", "warning"]
    sys.argv = [sys.argv[0], "--address", HOST, "--port", str(PORT), *limits]
    server = Server()
    server.register_runtime({PATH: [Runtime(Analyze, num=NUM_CORES)]})
    server.run()
