"""The command `mien pack`: which packs there are, what is in one, and whether it is whole.

Never changes a pack.
"""

import click
from rich.console import Console
from rich.table import Table

from model.runtime.pack import PackError, Threshold, find_pack, list_packs, read_pack, verify_pack
from model.runtime.twin_part import Twin, TwinPart, TwinPrecision
from service.errors import StartupError
from service.onnx_engine import PrecisionChoice, open_engine

_WIDTH = 120  # where the output is no terminal, which has a width of its own


@click.group("pack")
def pack_group() -> None:
    """Packs: the models that the service loads."""


@pack_group.command("list")
def list_command() -> None:
    """List the packs that ship with this installation."""
    names = list_packs()
    if not names:
        raise click.ClickException("no pack ships with this installation; --pack takes a path")
    for name in names:
        try:
            pack = read_pack(find_pack(name))
        except PackError as error:
            click.echo(str(error), err=True)
            continue
        click.echo(f"{name}  {pack.version}  {', '.join(pack.tasks)}")


@pack_group.command("show")
@click.argument("name", metavar="NAME|PATH")
def show_command(name: str) -> None:
    """Show what a pack answers, on what terms, and how well it was measured to."""
    try:
        folder = find_pack(name)
        pack = read_pack(folder)
    except PackError as error:
        raise click.ClickException(str(error)) from None
    console = Console(highlight=False, soft_wrap=True)
    facts = {
        "pack": f"{pack.name} {pack.version}",
        "folder": str(folder),
        "tasks": ", ".join(pack.tasks),
        "licence": pack.license,
        "allowed use": pack.allowed_use,
        "trained on": ", ".join(f"{part.name} ({part.num_rows:,} rows)" for part in pack.training_data) or "not stated",
        "embeddings": pack.embedding_space or "none",
    }
    if pack.verification is not None:
        points = (
            f"{point.threshold:.3f}{_interval(point)} at FMR {point.fmr:g}" for point in pack.verification.thresholds
        )
        facts["thresholds"] = f"{'; '.join(points)} (calibrated on {pack.verification.calibrated_on})"
    for part in pack.analyzers:
        for precision, twin in part.twins.items():
            label = f"{precision} {part.file}" if len(pack.analyzers) > 1 else f"{precision} twin"
            facts[label] = _twin_line(twin)
    for label, value in facts.items():
        console.print(f"{label:<12} {value}", markup=False)
    if pack.measured:
        table = Table("task", "metric", "value", "data", "group", "samples", box=None, pad_edge=False)
        for figure in pack.measured:
            cells = (figure.task, figure.metric, f"{figure.value:.4g}", figure.dataset, figure.group)
            table.add_row(*cells, f"{figure.num_samples:,}")
        if not console.is_terminal:
            console.width = _WIDTH
        console.print(table, soft_wrap=False)


def _interval(point: Threshold) -> str:
    if point.threshold_interval is None:
        return ""
    low, high = point.threshold_interval
    return f" [{low:.3f}, {high:.3f}]"


@pack_group.command("check")
@click.argument("name", metavar="NAME|PATH")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to run it.")
def check_command(name: str, device: str) -> None:
    """Check every file's hash, open the graphs, and run the known answer: what the service does before it is ready."""
    try:
        folder = find_pack(name)
        pack = read_pack(folder)
        verify_pack(folder, pack, checkpoints=True)
        own: TwinPrecision = "int8" if device == "cpu" else "float16"
        graphs: tuple[PrecisionChoice, ...] = ("float32", own)
        for precision in graphs if any(own in part.twins for part in pack.analyzers) else graphs[:1]:
            open_engine(str(folder.resolve()), "cuda" if device == "cuda" else "cpu", precision=precision).warm_up()
    except (PackError, StartupError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{pack.name} {pack.version}: {len(pack.files())} files whole, and the known answer is right")


def _twin_line(twin: Twin) -> str:
    """What was measured of a twin, in one line."""
    cosine = [] if twin.cosine_mean is None else [f"mean cosine {twin.cosine_mean:.4f}"]
    own = [] if twin.embedding_space is None else [f"embeddings in a space of their own, {twin.embedding_space}"]
    if not isinstance(twin, TwinPart):
        return "; ".join([twin.file, *cosine, *own, "taken by MIEN_PRECISION=float16 alone, on a GPU"])
    speeds = (f"{row.ratio_median:.2f} times as fast at batch {row.batch_size}" for row in twin.speed)
    chosen = "taken by MIEN_PRECISION=auto" if twin.preferred else "not taken by MIEN_PRECISION=auto"
    on = [] if twin.machine is None else [f"measured on {twin.machine}"]
    return "; ".join([twin.file, *speeds, *cosine, *own, *on, chosen])
