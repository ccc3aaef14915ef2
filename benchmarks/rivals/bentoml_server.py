"""BentoML: as many worker processes as cores, each with the whole pipeline behind one `@bentoml.api` route.

Never batches: on a CPU a run costs what its rows cost.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType
from chosen import HOST, NUM_CORES, PATH, PORT, pipeline


@bentoml.service(workers=NUM_CORES, traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class Analyze:
    """What each worker process does."""

    def __init__(self) -> None:
        self._pipeline = pipeline()

    @bentoml.api(route=PATH)  # type: ignore[untyped-decorator]
    def analyze(self, body: Annotated[Path, ContentType("application/octet-stream")], /) -> bytes:
        """Answers one request; BentoML hands a binary body over as a file."""
        return self._pipeline.answer(body.read_bytes())


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.chdir(Path(__file__).parent)
    served = ["bentoml_server:Analyze", "--host", HOST, "--port", str(PORT)]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", *served])  # noqa: S606 - our own interpreter
