"""A conversion to face_analysis_pytorch's LMDB: the source's own images, one label each.

Holds the choice of the label and the numbering of people. Never crops: what trains on the form resizes what it finds.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

from PIL import Image

from model.training.data_error import DataError
from model.training.prepare.face_masks import with_masks
from model.training.prepare.layout import ReadOptions, find_layout
from model.training.prepare.lmdb_form import write_lmdb
from model.training.prepare.preparation import Job, Summary, set_name
from model.training.prepare.rows import BadRow, FaceRow, LabelName
from model.training.prepare.shards import bad_line
from model.training.prepare.sources import Sources


def convert(job: Job, progress: Callable[[int, int | None], None] = lambda _done, _total: None) -> Summary:
    """Writes `OUT/NAME.lmdb` from a source's rows that carry a label, in their order.

    Args:
        job: `label` says which one; by default the identity.
        progress: told the rows that are done and how many there are.

    Raises:
        DataError: if the source is not laid out so, no row carries the label, or the file cannot be written.
    """
    layout, label = find_layout(job.kind), job.label or "identity"
    sources, options = Sources(job.sources), ReadOptions(set_name(job, layout), job.label)
    target = job.out / f"{options.name}.lmdb"
    if target.exists() and not job.overwrite:
        raise DataError(f"{target} is there already: give another --name, or --overwrite")

    def rows() -> Iterator[FaceRow | BadRow]:
        chosen = (row for row in layout.read(sources, options).rows if _is_taken(row, job))
        return with_masks(islice(chosen, job.limit), job.masks)

    numbers = _person_numbers(rows()) if label == "identity" else {}
    summary = Summary(job.out / f"{options.name}-prepare-report.jsonl")
    left_out: list[BadRow] = []
    total = layout.read(sources, options).total

    def entries() -> Iterator[tuple[bytes, int]]:
        for done, row in enumerate(rows(), 1):
            made = _entry(row, label, numbers)
            if isinstance(made, BadRow):
                left_out.append(made)
            else:
                yield made
            progress(done, total)

    num = write_lmdb(target, entries(), is_age=label == "age")
    summary.report.write_text("".join(map(bad_line, left_out)), encoding="utf-8")
    summary.left_out = Counter(row.reason for row in left_out)
    if not num:
        target.unlink()
        raise DataError(f"no row of the source could be used; {summary.report} says why of each")
    summary.rows, summary.files = {label: num}, {label: [target]}
    return summary


def _is_taken(row: FaceRow | BadRow, job: Job) -> bool:
    return isinstance(row, BadRow) or not job.take or row.part in job.take


def _person_numbers(rows: Iterator[FaceRow | BadRow]) -> dict[str, int]:
    """A number for each identity: its own where all of them are numbers, else its place in their sorted list."""
    names = {row.labels.identity for row in rows if isinstance(row, FaceRow) and row.labels.identity is not None}
    own = {name: name.partition(":")[2] for name in names}
    if all(text.isdecimal() for text in own.values()):
        return {name: int(text) for name, text in own.items()}
    return {name: number for number, name in enumerate(sorted(names))}


def _entry(row: FaceRow | BadRow, label: LabelName, numbers: dict[str, int]) -> tuple[bytes, int] | BadRow:
    if isinstance(row, BadRow):
        return row
    number = _number(row, label, numbers)
    if number is None:
        return BadRow(row.name, f"no {label}")
    try:
        data = row.image.read()
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
    except (OSError, ValueError, SyntaxError) as error:
        return BadRow(row.name, "image cannot be read", str(error).split(" <", 1)[0])
    return data, number


def _number(row: FaceRow, label: LabelName, numbers: dict[str, int]) -> int | None:
    labels = row.labels
    if label == "identity":
        return None if labels.identity is None else numbers[labels.identity]
    if label == "age":
        return None if labels.age is None else int(labels.age)
    return labels.gender if label == "gender" else labels.race
