"""A preparation: from a source to parquet, in parallel, in order, and on from where it stopped.

Holds the course of it: which split and shard each row belongs to, the threads, and the summary. Never reads the command
line and never prints.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import pyarrow.parquet as pq

from model.training.data_error import DataError
from model.training.prepare.crops import CropError, Cutter
from model.training.prepare.face_masks import with_masks
from model.training.prepare.layout import Layout, ReadOptions, find_layout
from model.training.prepare.rows import SPLITS, BadRow, CropAlignment, FaceRow, LabelName, Pair, Reading
from model.training.prepare.shards import Shard, Staging, bad_line, schema
from model.training.prepare.sources import Sources

SHARD_ROWS: Final = 20_000
_AHEAD: Final = 8  # rows a thread may be ahead of the writer: bounds memory, and outlasts one slow image
_HASH_STEPS: Final = 1 << 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SPLIT_INSIDE: Final = re.compile(r"-(train|val|test)(-|$)")

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Job:
    """What to prepare, and how.

    Attributes:
        kind: of the source, one of `layout.KINDS`.
        sources: files and folders.
        out: the folder that gets the set.
        name: the set's name; the layout's own by default.
        side_px: the crop's side.
        alignment: of the crops.
        label: what an unnamed number in the source is, where a layout needs to be told.
        split: every row's; by default the source's own parts decide.
        take: the source's parts that are read; all by default.
        val_share: the share of rows without a part that goes into validation, by identity or group.
        limit: rows of the source that are read at most.
        workers: threads.
        shard_rows: source rows a file.
        overwrite: whether files of that name may be replaced.
        detector: what names the detector in the record of how this was done: its file's hash.
        masks: the folder of the images' face masks; what is around the face is then blurred.
    """

    kind: str
    sources: tuple[Path, ...]
    out: Path
    name: str | None = None
    side_px: int = 112
    alignment: CropAlignment = "arcface-5pt"
    label: LabelName | None = None
    split: str | None = None
    take: tuple[str, ...] = ()
    val_share: float = 0.0
    limit: int | None = None
    workers: int = 1
    shard_rows: int = SHARD_ROWS
    overwrite: bool = False
    detector: str = ""
    masks: Path | None = None


@dataclass(slots=True)
class Summary:
    """What came of a preparation.

    Attributes:
        rows: rows written, by split.
        files: parquet files, by split.
        left_out: rows left out, by reason.
        report: the file that names each of them.
        num_pairs: pairs written, and those that named a row that was left out.
    """

    report: Path
    rows: dict[str, int] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    num_pairs: tuple[int, int] = (0, 0)


def prepare(
    job: Job, cutter: Cutter, progress: Callable[[int, int | None], None] = lambda _done, _total: None
) -> Summary:
    """Prepares a set; a run that was stopped before goes on with its last whole file.

    The files depend on the source and the job alone, not on the number of threads, nor on how often it was stopped.

    Args:
        job: what and how.
        cutter: makes the crops.
        progress: told the rows that are done and how many there are, as far as that is known.

    Raises:
        DataError: if the source is not laid out so, holds no usable row, or the disk does not take the files.
    """
    layout = find_layout(job.kind)
    name = set_name(job, layout)
    staging = Staging(job.out, name)
    splits = [job.split] if job.split else SPLITS
    if not job.overwrite and not staging.is_begun:
        there = [path for split in splits for path in staging.files(split)]
        if there:
            raise DataError(f"{there[0]} is there already: give another --name, or --overwrite")
    try:
        reading = layout.read(Sources(job.sources), ReadOptions(name, job.label))
        with staging.opened(_options(job, name)):
            return _Course(job, layout, name, cutter, staging, progress).run(reading)
    except OSError as error:
        raise DataError(
            f"cannot write in {job.out}: {error.strerror or error}; the same command goes on from here"
        ) from error


def set_name(job: Job, layout: Layout) -> str:
    """The set's name: the job's, the layout's, or the first source's own.

    Raises:
        DataError: if it is no name of a set.
    """
    own = re.sub(r"[^a-z0-9_]+", "_", job.sources[0].resolve().stem.lower()).strip("_")
    name = job.name or layout.name or own
    if not _NAME.fullmatch(name) or _SPLIT_INSIDE.search(name):
        raise DataError(
            f"{name!r} is no name of a set: lower-case letters, digits, _ and -, and no -train, -val or -test"
        )
    return name


def split_of(row: FaceRow, layout: Layout, job: Job) -> str:
    """The split that a row belongs to: a pure function of the row and the job."""
    if job.split is not None:
        return job.split
    known = dict(layout.splits)
    if row.part in known:
        return known[row.part]
    return "val" if _share(row.group or row.labels.identity or row.name) < job.val_share else layout.default_split


def ordered(
    threads: ThreadPoolExecutor, work: Callable[[Item], Answer], items: Iterator[Item], ahead: int
) -> Iterator[tuple[Item, Answer]]:
    """Maps in threads and answers in order, never more than `ahead` items further than what was answered."""
    waiting: deque[tuple[Item, Future[Answer]]] = deque()
    try:
        for item in items:
            waiting.append((item, threads.submit(work, item)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A row and the shard of its split that stands for it; `number` counts the source's rows up to it."""

    row: FaceRow
    split: str
    shard: int
    number: int


class _Course:
    """One run of a preparation."""

    def __init__(
        self,
        job: Job,
        layout: Layout,
        name: str,
        cutter: Cutter,
        staging: Staging,
        progress: Callable[[int, int | None], None],
    ) -> None:
        self._job, self._layout, self._cutter = job, layout, cutter
        self._staging, self._progress, self._name = staging, progress, name
        self._columns = schema(job.side_px, job.alignment, has_age_sigma=layout.has_age_sigma)
        self._open: dict[str, Shard] = {}
        self._done = {split: staging.num_done(split) for split in SPLITS}
        self._unread: list[BadRow] = []
        self._source_rows: Counter[str] = Counter()

    def run(self, reading: Reading) -> Summary:
        if not self._staging.is_settled:
            self._fill(reading)
        return self._finish(reading.pairs)

    def _fill(self, reading: Reading) -> None:
        total = reading.total if self._job.limit is None else min(self._job.limit, reading.total or self._job.limit)
        try:
            with ThreadPoolExecutor(self._job.workers) as threads:
                placed = self._place(with_masks(islice(reading.rows, self._job.limit), self._job.masks))
                for item, made in ordered(threads, self._cut, placed, self._job.workers * _AHEAD):
                    self._put(item, made)
                    self._progress(item.number, total)
            for shard in self._open.values():
                shard.close()
            self._open = {}
        finally:
            for shard in self._open.values():
                shard.abandon()

    def _place(self, rows: Iterator[FaceRow | BadRow]) -> Iterator[_Placed]:
        """Numbers the rows of each split, and lets through those whose shard is not done yet."""
        for number, row in enumerate(rows, 1):
            if isinstance(row, BadRow):
                self._unread.append(row)
            elif not self._job.take or row.part in self._job.take:
                split = split_of(row, self._layout, self._job)
                shard = self._source_rows[split] // self._job.shard_rows
                self._source_rows[split] += 1
                if shard >= self._done[split]:
                    yield _Placed(row, split, shard, number)

    def _cut(self, item: _Placed) -> bytes | BadRow:
        try:
            return self._cutter.cut(item.row)
        except CropError as error:
            return BadRow(item.row.name, error.reason, error.detail)

    def _put(self, item: _Placed, made: bytes | BadRow) -> None:
        shard = self._open.get(item.split)
        if shard is None:
            shard = self._open[item.split] = Shard(self._staging.shard(item.split, item.shard), self._columns)
        if isinstance(made, BadRow):
            shard.leave_out(made)
        else:
            shard.add(item.row.name, made, item.row.labels)
        if shard.num_sources == self._job.shard_rows:
            shard.close()
            del self._open[item.split]

    def _finish(self, pairs: tuple[Pair, ...]) -> Summary:
        summary = Summary(self._job.out / f"{self._name}-prepare-report.jsonl")
        beside: dict[str, str] = {}
        if not self._staging.is_settled:
            beside[summary.report.name] = "".join(map(bad_line, [*self._unread, *self._staging.bad_rows()]))
            if pairs:
                split = self._job.split or self._layout.default_split
                kept = self._kept_pairs(pairs, split)
                beside[f"{self._name}-{split}-pairs.csv"] = _pairs_table(kept)
                summary.num_pairs = (len(kept), len(pairs) - len(kept))
        summary.files = self._staging.publish(beside)
        summary.rows = {split: sum(map(_num_rows, files)) for split, files in summary.files.items()}
        reasons = (json.loads(line)["reason"] for line in summary.report.read_text(encoding="utf-8").splitlines())
        summary.left_out = Counter(reasons)
        if not sum(summary.rows.values()):
            for path in (path for files in summary.files.values() for path in files):
                path.unlink()
            raise DataError(f"no row of the source could be used; {summary.report} says why of each")
        return summary

    def _kept_pairs(self, pairs: tuple[Pair, ...], split: str) -> list[Pair]:
        """The pairs whose images are both in the set."""
        shards = [self._staging.shard(split, number) for number in range(self._staging.num_done(split))]
        names = {name for shard in shards for name in pq.read_table(shard, columns=["name"])["name"].to_pylist()}
        return [pair for pair in pairs if pair.name_a in names and pair.name_b in names]


def _num_rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _pairs_table(pairs: list[Pair]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["fold", "name_a", "name_b", "same"])
    table.writerows([pair.fold, pair.name_a, pair.name_b, int(pair.same)] for pair in pairs)
    return text.getvalue()


def _options(job: Job, name: str) -> dict[str, object]:
    """What the files depend on."""
    return {
        "kind": job.kind,
        "sources": [str(path.resolve()) for path in job.sources],
        "name": name,
        "side_px": job.side_px,
        "alignment": job.alignment,
        "label": job.label,
        "split": job.split,
        "take": sorted(job.take),
        "val_share": job.val_share,
        "limit": job.limit,
        "shard_rows": job.shard_rows,
        "detector": job.detector,
        "masks": None if job.masks is None else str(job.masks.resolve()),
    }


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / _HASH_STEPS
