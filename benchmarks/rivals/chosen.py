"""What `mien bench` tells a rival's server, by environment variables: its port, its pack, the cores it may use.

Never holds a setting of one rival alone.
"""

import os
from typing import Final

from service.bench.pipeline import Pipeline
from service.onnx_engine import open_engine
from service.settings import read_settings

HOST: Final = "127.0.0.1"
PORT: Final = int(os.environ.get("RIVAL_PORT", "8001"))
PACK: Final = os.environ.get("RIVAL_PACK", "nano")
NUM_CORES: Final = int(os.environ.get("RIVAL_CORES", "1"))
PATH: Final = "/analyze"


def pipeline() -> Pipeline:
    """The pack's pipeline, opened in this process; one thread runs a graph, as everywhere in the bench."""
    settings = read_settings(pack=PACK)
    return Pipeline(open_engine(PACK, scales=settings.detect_scales, precision=settings.precision))
