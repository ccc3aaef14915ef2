"""The GPU benchmark: what the card does at its best, and how near the networks and the service come to it.

`python benchmarks/gpu --document docs/gpu.md` measures everything in some eight minutes; `--device cpu` rehearses it at
tiny sizes. Holds the options and the order; results are kept after every row, so that a run that is cut short loses
none: `--part` and `--keep` measure the rest or some of it anew, `--show` writes the page of what there is.
"""

import datetime
import importlib.metadata
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import torch
from clock import Budget
from limits import measure_limits
from networks import SUBJECTS, graph_of
from onnx_runs import measure_onnx
from page import markdown
from pydantic import ValidationError
from report import PRECISIONS, Machine, Omission, Precision, Report, Row, Served, Steps, Timing, Work
from rich.console import Console
from served import measure_served
from steps import measure_steps
from torch_runs import measure_compiled, measure_torch

from model.runtime.pack import DEFAULT_PACK
from model.runtime.session import Device, runtime_version
from service.bench.photographs import group_photograph
from service.bench.requests import make_requests
from service.cores import usable_cores
from service.imaging import decode
from service.onnx_engine import open_engine

PARTS: Final = ("graph", "limits", "onnx", "steps", "served", "torch", "compiled")
_PACKAGES: Final = ("torch", "numpy", "timm")
_NAMED_ALONE: Final = "TensorRT"  # builds engines for minutes, and keeps the whole process from TensorFloat-32
WAYS: Final = ("plain", "bound", "CUDA graphs", _NAMED_ALONE, "eager", "CUDA graph")
_REQUESTS: Final = ("one face", "six faces", "aligned crop")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    side: int
    copied_bytes: int
    batches: tuple[int, ...]
    budget: Budget
    runs: int
    images: int
    clients: tuple[int, ...]
    seconds: float
    compile_seconds: float
    networks: tuple[str, ...]
    ways: tuple[str, ...] = ()  # all, where none is named
    precisions: tuple[str, ...] = ()

    def chosen(self, way: str, precision: Precision) -> bool:
        """Whether a way to run a network is measured in a precision."""
        is_way = way in self.ways if self.ways else way != _NAMED_ALONE
        return is_way and (not self.precisions or precision in self.precisions)


FULL: Final = Sizes(
    side=8192, copied_bytes=4 << 30, batches=(1, 2, 4, 8, 16, 32, 64), budget=Budget(), runs=10_000, images=1000,
    clients=(64,), seconds=3, compile_seconds=90, networks=tuple(SUBJECTS),
)  # fmt: skip
TINY: Final = Sizes(
    side=64, copied_bytes=1 << 20, batches=(1, 2), budget=Budget(0.01, 3, 2), runs=6, images=2,
    clients=(2,), seconds=0.3, compile_seconds=1, networks=(DEFAULT_PACK,),
)  # fmt: skip


class Run:
    """One run: a report that grows, and is kept after each row."""

    def __init__(self, device: Device, sizes: Sizes, target: Path, photo: Path | None, graphs: Path) -> None:
        self.device, self.sizes, self.target, self.photo, self.graphs = device, sizes, target, photo, graphs
        self.report = Report(machine=_machine(device))
        self.console = Console(stderr=True, highlight=False)
        self.start = time.perf_counter()

    def part(self, name: str) -> None:
        """Measures one part; what stops it is kept as an omission, and the next part goes on."""
        self.tell(f"part {name}")
        try:
            for row in getattr(self, f"_{name}")():
                self._add(row)
        except Exception as error:  # whatever a driver, a backend or an exporter raises
            self._add(Omission(what=f"part {name}", why=f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"))

    def go_on(self, report: Report) -> None:
        """Adds to what was measured before.

        Raises:
            click.ClickException: if that was another GPU: its figures are not to stand beside this one's.
        """
        if report.machine.gpu != self.report.machine.gpu:
            raise click.ClickException(
                f"{self.target} is of {report.machine.gpu}, and this is {self.report.machine.gpu}"
            )
        self.report = report.model_copy(update={"machine": self.report.machine})

    def tell(self, line: str) -> None:
        """Progress, with the seconds since the start."""
        self.console.print(f"{time.perf_counter() - self.start:6.1f} s  {line}", soft_wrap=True, markup=False)

    def _add(self, row: Row) -> None:
        self.report.add(row)
        values = row.model_dump().values()
        self.tell(" ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
        self.report.write(self.target)

    def _graph(self) -> Iterator[Omission]:
        """Exports what takes long to export, so that no part waits for it."""
        for name in self.sizes.networks:
            graph_of(SUBJECTS[name](1), self.graphs)
        yield from ()

    def _limits(self) -> Iterator[Omission]:
        device = torch.device(self.device)
        self.report.limits = measure_limits(device, self.sizes.side, self.sizes.copied_bytes, 10)
        self.tell(str(self.report.limits))
        self.report.write(self.target)
        yield from ()

    def _onnx(self) -> Iterator[Timing | Omission]:
        for name in self.sizes.networks:
            subject = SUBJECTS[name](max(self.sizes.batches))
            self._note(subject.work)
            self.tell(f"the graph of {name}")
            graph = graph_of(subject, self.graphs)
            yield from measure_onnx(
                subject, graph, self.device, self.sizes.batches, self.sizes.budget, self.sizes.chosen
            )

    def _torch(self) -> Iterator[Timing | Omission]:
        for name in self.sizes.networks:
            subject = SUBJECTS[name](max(self.sizes.batches))
            self._note(subject.work)
            yield from measure_torch(
                subject, torch.device(self.device), self.sizes.batches, self.sizes.budget, self.sizes.chosen
            )

    def _note(self, work: Work) -> None:
        """Keeps what a network asks of a GPU, the networks in their own order whatever was measured first."""
        works = {each.network: each for each in self.report.works} | {work.network: work}
        self.report.works = [works[name] for name in SUBJECTS if name in works]

    def _compiled(self) -> Iterator[Timing | Omission]:
        sizes = sorted(self.sizes.batches)
        batches = sorted({sizes[0], *sizes[3:4], sizes[-1]}, reverse=True)
        for name in self.sizes.networks:
            yield from measure_compiled(name, "float16", batches, self.sizes.compile_seconds, self.device)

    def _steps(self) -> Iterator[Steps]:
        pixels = decode(group_photograph(self.photo), max_pixels=10**8).pixels
        for graphs in (True, False) if self.device == "cuda" else (False,):
            yield from measure_steps(
                DEFAULT_PACK,
                self.device,
                pixels,
                self.sizes.runs,
                self.sizes.images,
                cuda_graphs=graphs,
                tell=self.tell,
            )

    def _served(self) -> Iterator[Served | Omission]:
        requests = make_requests(group_photograph(self.photo), open_engine(DEFAULT_PACK), _REQUESTS)
        ways = ((1, True), (4, True), (1, False)) if self.device == "cuda" else ((1, False),)
        for workers, graphs in ways:
            yield from measure_served(
                DEFAULT_PACK, self.device, requests, self.sizes.clients, self.sizes.seconds,
                workers=workers, cuda_graphs=graphs,
            )  # fmt: skip


def _machine(device: Device) -> Machine:
    gpu, driver = "none", "none"
    if device == "cuda":
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
        gpu, _, driver = (answer.stdout.strip().splitlines() or ["unknown, unknown"])[0].partition(", ")
    return Machine(
        gpu=gpu,
        driver=driver,
        processor=_processor(),
        num_cores=usable_cores(),
        versions={
            "onnxruntime": runtime_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
            "Python": platform.python_version(),
        },
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        command="python benchmarks/gpu",
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@click.command()
@click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="`cpu` rehearses."
)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="What to measure.  [default: all]")
@click.option("--photo", type=click.Path(dir_okay=False, exists=True, path_type=Path), help="A photograph of faces.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), default=Path("gpu.json"),
              show_default=True, help="Where the results go.")  # fmt: skip
@click.option("--keep", is_flag=True, help="Add to what the JSON file has of other parts.")
@click.option("--graphs", type=click.Path(file_okay=False, path_type=Path), default=Path(tempfile.gettempdir()),
              show_default=True, help="Where exported graphs are kept.")  # fmt: skip
@click.option("--network", "networks", multiple=True, type=click.Choice([*SUBJECTS]), help="Of these networks alone.")
@click.option(
    "--way",
    "ways",
    multiple=True,
    type=click.Choice(WAYS),
    help="In these ways alone; TensorRT only where it is named.",
)
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), help="In these alone.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1, 64), help="At these batch sizes, in order.")
@click.option("--steps", "runs", type=click.IntRange(1), help="Runs of changing shape; a twentieth of photographs.")
@click.option("--seconds", type=click.FloatRange(0.1), help="How long the service is loaded, each time.")
@click.option("--compile-seconds", type=click.FloatRange(1), help="The longest that one compilation may take.")
@click.option("--show", is_flag=True, help="Measure nothing; write the page of what the JSON file has.")
@click.option("--document", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here.")
def main(
    device: Device, parts: tuple[str, ...], photo: Path | None, target: Path, keep: bool, graphs: Path, show: bool,
    document: Path | None, **sizes: object,
) -> None:  # fmt: skip
    """Measures an NVIDIA GPU, and how near to its limits the networks and the service run on it."""
    if show:
        _finish(_read(target), document)
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise click.ClickException("there is no CUDA device here; --device cpu rehearses at tiny sizes")
    run = Run(device, _changed(FULL if device == "cuda" else TINY, sizes), target, photo, graphs)
    if keep and target.is_file():
        run.go_on(_read(target))
    for name in parts or PARTS:
        run.part(name)
    run.report.write(target)
    _finish(run.report, document)


def _changed(sizes: Sizes, options: Mapping[str, object]) -> Sizes:
    """The sizes, but for what was named on the command line."""
    named: dict[str, Any] = {name: value for name, value in options.items() if value not in (None, ())}
    if "runs" in named:
        named["images"] = max(named["runs"] // 20, 1)
    return replace(sizes, **named)


def _read(target: Path) -> Report:
    try:
        return Report.model_validate_json(target.read_bytes())
    except (OSError, ValidationError) as error:
        raise click.ClickException(f"{target} is not a report of this benchmark: {type(error).__name__}") from None


def _finish(report: Report, document: Path | None) -> None:
    if document is None:
        click.echo(markdown(report))
    else:
        document.write_text(markdown(report), encoding="utf-8")


if __name__ == "__main__":
    main()
