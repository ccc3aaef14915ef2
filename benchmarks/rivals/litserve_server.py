"""LitServe: a FastAPI front end, and as many worker processes as cores, each with the whole pipeline.

Never batches: on a CPU a run costs what its rows cost.
"""

from typing import Annotated

import litserve
from chosen import HOST, NUM_CORES, PATH, PORT, pipeline
from fastapi import Body, Response


class Analyze(litserve.LitAPI):  # type: ignore[misc] # where litserve is absent
    """What each worker process does."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the CPU
        """Opens the pack in the worker."""
        self._pipeline = pipeline()

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> bytes:
        """The request's body; LitServe takes the annotation for its route's."""
        return request

    def predict(self, body: bytes) -> bytes:
        """Answers one request."""
        return self._pipeline.answer(body)

    def encode_response(self, output: bytes) -> Response:
        """The answer, as it is."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    server = litserve.LitServer(
        Analyze(api_path=PATH), accelerator="cpu", workers_per_device=NUM_CORES, timeout=False, fast_queue=False
    )
    server.run(host=HOST, port=PORT, generate_client_file=False, log_level="warning", access_log=False)
