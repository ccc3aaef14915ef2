"""What the GPU benchmark found, as one JSON file that grows part by part.

Holds the form and its writing alone. Never measures, and never names a host, a user or a folder.
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel

Precision = Literal["float32", "tf32", "float16", "bfloat16"]
SLOW = 3
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "float16", "bfloat16")


UNRECORDED = "ran without recording"


class Machine(BaseModel):
    """Where it was measured, by what, and when."""

    gpu: str
    driver: str
    processor: str
    num_cores: int
    versions: dict[str, str]
    date: str
    command: str


class Limits(BaseModel):
    """What the GPU does at its best: rates in TFLOP/s by precision, bytes moved in GB/s (read and written)."""

    side: int
    rates: dict[Precision, float]
    copy_gb: float
    pageable_ms: float  # 64 crops from the host to the device, from memory that may be paged out
    page_locked_ms: float  # the same, copied into page-locked memory first and then to the device


class Work(BaseModel):
    """The least that a network asks of a GPU."""

    network: str
    gflop_a_face: float
    million_parameters: float
    bytes_a_face: int  # of a crop and its answers


class Timing(BaseModel):
    """One way to run one network at one batch size, copies from and to the host included.

    `cosine_min` and `difference_max` are held against float32 on the processor: of embeddings the least cosine, of
    probabilities the largest difference.
    """

    network: str
    engine: Literal["onnxruntime", "torch"]
    way: str
    precision: Precision
    batch: int
    num_runs: int
    median_ms: float
    p99_ms: float
    cosine_min: float
    difference_max: float


class Omission(BaseModel):
    """What was not measured, and why, in one line."""

    what: str
    why: str


class Steps(BaseModel):
    """Runs of changing shape, in milliseconds; `kind` is what their shape is: all, or one bucket, or looks.

    `num_slow` are those over `SLOW` times the median of their own kind.
    """

    what: str
    kind: str
    num: int
    median_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    num_slow: int


class Served(BaseModel):
    """The service under so many clients, each sending its next request when the last is answered."""

    request: str
    workers: int
    cuda_graphs: bool
    num_clients: int
    images_a_second: float
    faces_a_second: float
    p50_ms: float
    p99_ms: float
    server_cores: float


Row = Timing | Omission | Steps | Served
RowT = TypeVar("RowT", bound=Row)


def key(row: Row) -> tuple[object, ...]:
    """What two rows share of which the later one counts."""
    if isinstance(row, Timing):
        return row.network, row.engine, row.way, row.precision, row.batch
    if isinstance(row, Steps):
        return row.what, row.kind
    if isinstance(row, Served):
        return row.request, row.workers, row.cuda_graphs, row.num_clients
    return (row.what,)


class Report(BaseModel):
    """Everything."""

    machine: Machine
    limits: Limits | None = None
    works: list[Work] = []
    timings: list[Timing] = []
    steps: list[Steps] = []
    served: list[Served] = []
    omissions: list[Omission] = []
    notes: list[str] = []

    def add(self, row: Row) -> None:
        """Takes a row in, in the place of one that said the same of before, and of what said that it is missing."""
        if isinstance(row, Timing):
            what = f"{row.network}, {row.engine}, {row.precision}, {row.way}"
            stale = {what, f"{what}: {UNRECORDED}", f"{what}, batch {row.batch}"}
            self.omissions = [omission for omission in self.omissions if omission.what not in stale]
            self.timings = _with(self.timings, row)
        elif isinstance(row, Steps):
            self.steps = _with(self.steps, row)
        elif isinstance(row, Served):
            self.served = _with(self.served, row)
        else:
            self.omissions = _with(self.omissions, row)

    def write(self, path: Path) -> None:
        """Writes it whole or not at all."""
        beside = path.with_name(path.name + ".part")
        beside.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        beside.replace(path)


def _with(rows: list[RowT], row: RowT) -> list[RowT]:
    """The rows with one more, which takes the place of another of its key."""
    keys = [key(each) for each in rows]
    if key(row) not in keys:
        return [*rows, row]
    return [row if each == key(row) else old for each, old in zip(keys, rows, strict=True)]
