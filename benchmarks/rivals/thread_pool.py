"""The plain endpoint: FastAPI's `def` route on its thread pool, the way most such services begin.

As many threads as cores: more would only take turns on them. Never batches, and never refuses anything.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import uvicorn
from chosen import HOST, NUM_CORES, PATH, PORT, pipeline
from fastapi import Body, FastAPI, Response


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Sizes the pool that `def` routes run on."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = NUM_CORES
    yield


app = FastAPI(lifespan=lifespan)
served = pipeline()


@app.post(PATH)
def analyze(body: bytes = Body(media_type="application/octet-stream")) -> Response:
    """Answers one request in a thread of the pool."""
    return Response(served.answer(body), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, host=HOST, port=PORT, access_log=False, log_level="warning")
