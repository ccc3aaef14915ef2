"""The command `mien bench`: what is measured, for how long, and where the results go.

Holds options, the order of things, and what is printed. Never measures anything itself, and never compares with
figures of another machine.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from model.runtime.pack import PackError
from service.bench.contenders import RIVALS
from service.bench.load import LoadError
from service.bench.machine import machine
from service.bench.page import goals_table, markdown
from service.bench.photographs import PhotographError, group_photograph
from service.bench.requests import Request, make_requests
from service.bench.results import Report
from service.bench.run import Run, Turns
from service.client import ServiceProcessError
from service.errors import StartupError
from service.onnx_engine import open_engine
from service.opening import pack_option, settings_with

PARTS: Final = ("raw", "rivals", "steady", "overload")
_FLOODED: Final = "one face"
_WIDTH: Final = 160  # where the output is no terminal, which has a width of its own


def _numbers(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter("must be numbers separated by commas") from None
    if min(numbers) <= 0:
        raise click.BadParameter("must be over 0")
    return numbers


@click.command("bench")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="What to measure.  [default: all]")
@click.option(
    "--request", "names", multiple=True, metavar="NAME", help="Which requests, such as 'six faces'.  [default: all]"
)
@click.option("--rival", "rivals", multiple=True, type=click.Choice([each.name for each in RIVALS]),
              help="Which rivals.  [default: all that are installed]")  # fmt: skip
@click.option("--clients", default="1,4,16,64", show_default=True, callback=_numbers, help="Numbers of clients.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Turns of both sides in a row.")
@click.option("--seconds", type=click.FloatRange(0.05), default=3.0, show_default=True, help="Of each turn.")
@click.option("--steady-seconds", type=click.FloatRange(0.05), default=15.0, show_default=True,
              help="Of each round under steady load.")  # fmt: skip
@click.option("--overload-seconds", type=click.FloatRange(0.05), default=60.0, show_default=True,
              help="Of each step of the overload.")  # fmt: skip
@click.option("--steps", default="1,2,4,10", show_default=True, callback=_numbers,
              help="How many times the throughput is offered.")  # fmt: skip
@click.option("--deadline-ms", type=click.IntRange(1), default=2000, show_default=True, help="Of requests in overload.")
@click.option("--photo", type=click.Path(dir_okay=False, path_type=Path),
              help="Photograph that all others are made of.  [default: insightface's of six faces]")  # fmt: skip
@click.option("--rivals-folder", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/rivals"),
              show_default=True, help="Where the rivals' scripts are.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), default=Path("bench.json"),
              show_default=True, help="Where the results go.")  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep what the JSON file has of parts that are not measured now.")
@click.option("--show", is_flag=True, help="Measure nothing; show what the JSON file has.")
@click.option(
    "--document", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here, its plot beside it."
)
@pack_option
def bench_command(
    parts: tuple[str, ...], names: tuple[str, ...], rivals: tuple[str, ...], clients: tuple[float, ...], rounds: int,
    seconds: float, steady_seconds: float, overload_seconds: float, steps: tuple[float, ...], deadline_ms: int,
    photo: Path | None, rivals_folder: Path, json_path: Path, keep: bool, show: bool, document: Path | None,
    pack: str | None,
) -> None:  # fmt: skip
    """Measure the real service on this machine: throughput, latency, overload, beside a raw loop and rivals.

    The service runs as a process of its own. Sides take turns; ratios are given as median, least and most of the
    rounds. A rival that is not installed (pip install 'mien[bench]') is left out, and the output says so.

    \b
    Examples:
      mien bench --part raw --seconds 1                    how near to the raw loop, in a few minutes
      mien bench --part overload --overload-seconds 10
      mien bench --document docs/benchmarks.md             everything; takes hours
      mien bench --part rivals --rival mosec --keep        one rival anew
    """  # noqa: D301 - click needs the control character
    if show:
        _finish(_read(json_path), json_path, document)
        return
    with _one_line():
        chosen = settings_with(pack=pack)
        engine = open_engine(chosen.pack, scales=chosen.detect_scales, precision=chosen.precision)
        requests = make_requests(group_photograph(photo), engine)
        wanted = _named(names, requests)
        report = Report(machine=machine(engine.pack))
        bench = Run(_kept(report, json_path) if keep else report, chosen.pack, json_path, rounds, sys.argv[2:])
        parts = parts or PARTS
        turns = Turns(wanted, [int(number) for number in clients], seconds)
        if "raw" in parts:
            bench.raw(turns, engine)
        for rival in RIVALS if "rivals" in parts else ():
            if not rivals or rival.name in rivals:
                bench.rival(turns, rival, rivals_folder)
        if "steady" in parts:
            bench.steady(wanted, steady_seconds)
        if "overload" in parts:
            flooded = next((each for each in requests if each.name == _FLOODED), requests[0])
            bench.overload(flooded, steps, overload_seconds, deadline_ms)
    _finish(bench.report, json_path, document)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except (StartupError, PackError, PhotographError, ServiceProcessError, LoadError) as error:
        raise click.ClickException(str(error)) from None


def _named(names: Sequence[str], requests: Sequence[Request]) -> list[Request]:
    known = [request.name for request in requests]
    for name in names:
        if name not in known:
            raise click.UsageError(f"unknown request {name!r}; there are: {', '.join(known)}")
    return [request for request in requests if not names or request.name in names]


def _kept(report: Report, path: Path) -> Report:
    """An earlier report, as of this machine now.

    Raises:
        click.ClickException: if it is of another machine or other versions.
    """
    earlier = _read(path)
    theirs, ours = (each.machine.model_copy(update={"load_before": 0.0}) for each in (earlier, report))
    if theirs != ours:
        raise click.ClickException(f"{path} is of another machine, pack or versions: measure it all anew")
    return earlier


def _read(path: Path) -> Report:
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from None
    except ValidationError:
        raise click.ClickException(f"{path} is not a report of mien bench") from None


def _finish(report: Report, json_path: Path, document: Path | None) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    if document is None:
        console.print(markdown(report), soft_wrap=True, markup=False)
    else:
        plot = _draw(report, document)
        document.write_text(markdown(report, plot), encoding="utf-8")
    table = Table("goal", "measured", "met")
    for row in goals_table(report):
        table.add_row(*row)
    console.print(table)
    for name, why in report.left_out.items():
        console.print(f"{name} is left out: {why}", soft_wrap=True, markup=False)
    console.print(f"results: {json_path}{f', page: {document}' if document else ''}", soft_wrap=True)


def _draw(report: Report, document: Path) -> str | None:
    if not report.duels:
        return None
    if importlib.util.find_spec("matplotlib") is None:
        click.echo("no plot: matplotlib is not installed (the extra bench has it)", err=True)
        return None
    from service.bench.plot import draw

    target = document.with_suffix(".svg")
    draw(report, target)
    return target.name
