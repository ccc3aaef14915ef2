"""Fills the tables in the documents from the code and the pack that they describe: `make docs`.

A table stands between `<!-- NAME: filled by make docs -->` and `<!-- end -->`. Never holds a figure or a default of its
own, so that no document can state another than the service has. `--check` writes nothing and fails on a stale table.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

import click
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from model.runtime.pack import DEFAULT_PACK, Figure, Pack, PackError, find_pack, read_pack
from service.errors import KINDS
from service.metrics import Metrics
from service.settings import PREFIX, Settings

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENTS: Final = ("docs/operating.md", "README.md")
# What the README states of the shipped pack; CARD.md beside it states everything. (task, metric) -> what it is called.
HEADLINES: Final = {
    ("detection", "recall_at_iou_0.5"): "Faces over 20 px found at IoU 0.5",
    ("detection", "false_alarms_per_room"): "False alarms in a room without a face",
    ("embedding", "accuracy_10fold"): "Verification accuracy, 10-fold",
    ("embedding", "tar_at_fmr_1e-03"): "True accepts at FMR 0.001, all pairs",
    ("age", "mae_years"): "Age, mean absolute error in years",
    ("gender", "accuracy"): "Gender accuracy",
    ("race", "accuracy"): "Race accuracy",
    ("expression", "accuracy"): "Expression accuracy, seven classes",
    ("attributes", "accuracy_mean"): "Accuracy of forty attributes, mean",
}
PLAIN: Final = {"false_alarms_per_room", "mae_years"}  # not shares


def settings_table() -> str:
    """Every setting of the service: variable, default, bounds, meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{str(field.default).lower()}`"
        rows.append((f"`{PREFIX}{name.upper()}`", default, _bounds(field), field.description or ""))
    return _table(("Variable", "Default", "Bounds", "Meaning"), rows)


def metrics_table() -> str:
    """Every metric of the service's own, with its type and help text."""
    exposed = Metrics().render().decode()
    kinds = dict(re.findall(r"^# TYPE (mien_\S+) (\S+)$", exposed, re.MULTILINE))
    described = re.findall(r"^# HELP (mien_\S+) (.+)$", exposed, re.MULTILINE)
    return _table(
        ("Metric", "Type", "Meaning"),
        [(f"`{name}`", kinds[name], text) for name, text in described if not name.endswith("_created")],
    )


def errors_table() -> str:
    """Every problem that an answer may be: status, title, type."""
    return _table(
        ("Status", "Title", "`type`", "When"),
        [
            (str(kind.status), kind.title, f"`{kind.uri}`", (error.__doc__ or "").split(": ", 1)[-1].split("\n")[0])
            for error, kind in KINDS.items()
        ],
    )


def figures_table(pack: Pack) -> str:
    """The shipped pack's headline figures, and the commands that made them."""
    chosen = [figure for figure in pack.measured if figure.group == "all" and (figure.task, figure.metric) in HEADLINES]
    order = list(HEADLINES)
    chosen.sort(key=lambda figure: order.index((figure.task, figure.metric)))
    table = _table(
        ("What", "Value", "Set", "Counted over"),
        [
            (HEADLINES[figure.task, figure.metric], _value(figure), figure.dataset, f"{figure.num_samples:,}")
            for figure in chosen
        ],
    )
    commands = "\n".join(f"    {command}" for command in dict.fromkeys(figure.command for figure in chosen))
    return f"{table}\n\nPack `{pack.name}` {pack.version}. Made by:\n\n{commands}"


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "settings": settings_table,
    "metrics": metrics_table,
    "errors": errors_table,
    "figures": lambda: figures_table(read_pack(find_pack(DEFAULT_PACK))),
}


def fill(text: str) -> str:
    """A document's text with every table made anew.

    Raises:
        KeyError: if a marker names no table.
    """
    pattern = re.compile(r"(<!-- (\w+): filled by make docs -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", text)


def demo_output() -> str:
    """What `make demo` prints, of a run made now; without the folder that it ran in."""
    command = [sys.executable, "-m", "service.demo", "--port", "8000"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    lines = [line.rstrip() for line in printed.replace(f"{ROOT}/", "").splitlines()]
    return "\n".join(["```text", *(line for line in lines if line), "```"])


def _bounds(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    low = [bound.ge for bound in field.metadata if isinstance(bound, Ge)]
    high = [bound.le for bound in field.metadata if isinstance(bound, Le)]
    return f"{low[0]} to {high[0]}" if low and high else ""


def _value(figure: Figure) -> str:
    return f"{figure.value:.3g}" if figure.metric in PLAIN else f"{100 * figure.value:.1f} %"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, ("---",) * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Write nothing; fail where a table has gone stale.")
@click.option("--demo", is_flag=True, help="Run the demo too, and put what it prints into the README.")
def main(check: bool, demo: bool) -> None:
    """Fills, or checks, every document."""
    stale = []
    if demo:
        readme = ROOT / "README.md"
        shown = re.sub(
            r"(<!-- demo: filled by make docs-demo -->\n).*?(<!-- end -->)",
            lambda found: f"{found[1]}{demo_output()}\n{found[2]}",
            readme.read_text(encoding="utf-8"),
            flags=re.DOTALL,
        )
        readme.write_text(shown, encoding="utf-8")
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        try:
            after = fill(before)
        except PackError as error:
            raise click.ClickException(str(error)) from error
        if after != before:
            stale.append(name)
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        raise click.ClickException(f"tables have gone stale in {', '.join(stale)}: run make docs")
    click.echo(f"filled: {', '.join(stale)}" if stale else "documents: ok")


if __name__ == "__main__":
    main()
