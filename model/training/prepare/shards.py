"""Shards: prepared rows as parquet files in a staging folder, whole or absent, then put in their places.

Holds the files: their schema, their names, and the staging folder that makes a preparation resumable. Never decides
what a row is and never reads a source.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from model.training.dataset import ALIGNMENT_KEY, SIDE_KEY, DataError
from model.training.prepare.rows import SPLITS, BadRow, CropAlignment, Labels

# Rows that a parquet row group holds: what a reader must take at once.
GROUP_ROWS: Final = 512
_STATE: Final = "state.json"
_LOCK: Final = "lock"
_COLUMNS: Final = (
    ("name", pa.string()),
    ("image", pa.binary()),
    ("identity", pa.string()),
    ("age", pa.float32()),
    ("gender", pa.int8()),
    ("race", pa.int8()),
    ("expression", pa.int8()),
    ("attributes", pa.list_(pa.int8(), 40)),
    ("teacher", pa.list_(pa.float16(), 128)),
)
_AGE_SIGMA: Final = ("age_sigma", pa.float32())


def schema(side_px: int, alignment: CropAlignment, *, has_age_sigma: bool) -> pa.Schema:
    """The columns of a set of aligned faces, with its side and alignment in the file's metadata."""
    columns = (*_COLUMNS, _AGE_SIGMA) if has_age_sigma else _COLUMNS
    return pa.schema(columns, metadata={SIDE_KEY: str(side_px), ALIGNMENT_KEY: alignment})


class Shard:
    """One parquet file, being written; it has its name only once it is whole.

    Attributes:
        num_sources: source rows that it stands for so far, left-out ones among them.
    """

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self.num_sources = 0
        self._path, self._schema = path, columns
        self._part = path.with_suffix(".part")
        self._bad: list[BadRow] = []
        self._rows: list[dict[str, object]] = []
        self._writer = pq.ParquetWriter(self._part, columns, compression="NONE", use_dictionary=False)

    def add(self, name: str, image: bytes, labels: Labels) -> None:
        """Adds a row; rows are written a group at a time."""
        self.num_sources += 1
        self._rows.append({"name": name, "image": image, **asdict(labels)})
        if len(self._rows) == GROUP_ROWS:
            self._write()

    def leave_out(self, row: BadRow) -> None:
        """Notes a row that has no crop."""
        self.num_sources += 1
        self._bad.append(row)

    def close(self) -> None:
        """Finishes the file, and what it left out beside it."""
        if self._rows:
            self._write()
        self._writer.close()
        _write_whole(self._path.with_suffix(".jsonl"), "".join(bad_line(row) for row in self._bad))
        self._part.replace(self._path)

    def abandon(self) -> None:
        """Gives up: no file is left."""
        with suppress(OSError):  # what cannot be written cannot be closed either
            self._writer.close()
        self._part.unlink(missing_ok=True)

    def _write(self) -> None:
        columns = {name: [row.get(name) for row in self._rows] for name in self._schema.names}
        self._writer.write_table(pa.table(columns, schema=self._schema), row_group_size=GROUP_ROWS)
        self._rows = []


class Staging:
    """The folder `.NAME.preparing` beside a set's places: shards that are done, and what they were done with."""

    def __init__(self, out: Path, name: str) -> None:
        self.out, self.name = out, name
        self.folder = out / f".{name}.preparing"

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run left something to go on with."""
        return (self.folder / _STATE).is_file()

    @contextmanager
    def opened(self, options: Mapping[str, object]) -> Iterator[None]:
        """Makes the folder, or goes on with it; nobody else may meanwhile.

        Raises:
            DataError: if it was begun with other options, or another run is at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"another preparation of {self.name!r} is at work in {self.out}") from error
            self._agree(json.loads(json.dumps(options)))
            yield

    def shard(self, split: str, number: int) -> Path:
        """Where a shard is staged."""
        return self.folder / f"{split}-{number:05d}.parquet"

    def num_done(self, split: str) -> int:
        """Shards of a split that are whole, counted from the first."""
        number = 0
        while self.shard(split, number).is_file():
            number += 1
        return number

    def bad_rows(self) -> Iterator[BadRow]:
        """Rows that the staged shards left out, split after split."""
        for split in SPLITS:
            for path in sorted(self.folder.glob(f"{split}-*.jsonl")):
                for line in path.read_text(encoding="utf-8").splitlines():
                    yield BadRow(**json.loads(line))

    def publish(self, beside: Mapping[str, str]) -> dict[str, list[Path]]:
        """Puts every shard in its place, with text files beside them, and removes the folder.

        A run that is killed meanwhile goes on here: what is to be moved is settled first.

        Args:
            beside: further files of the set, by name.

        Returns:
            The parquet files of each split.
        """
        for name, text in beside.items():
            _write_whole(self.out / name, text)
        state = self._read_state()
        if "num_shards" not in state:
            state["num_shards"] = {split: self.num_done(split) for split in SPLITS}
            self._write_state(state)
        counts: dict[str, int] = state["num_shards"]
        return self._settle(counts)

    @property
    def is_settled(self) -> bool:
        """Whether an earlier run had every shard and was killed while it put them in their places."""
        return self.is_begun and "num_shards" in self._read_state()

    def _settle(self, counts: Mapping[str, int]) -> dict[str, list[Path]]:
        placed: dict[str, list[Path]] = {}
        for split in (split for split in SPLITS if counts[split]):
            numbers = range(counts[split])
            places = [self.out / self._file(split, number, counts[split]) for number in numbers]
            for old in self.files(split):
                if old not in places:
                    old.unlink()
            for number, place in zip(numbers, places, strict=True):
                if self.shard(split, number).is_file():
                    self.shard(split, number).replace(place)
            placed[split] = places
        shutil.rmtree(self.folder)
        return placed

    def files(self, split: str) -> list[Path]:
        """The set's files that are in their places."""
        whole, parts = self.out / f"{self.name}-{split}.parquet", self.out.glob(f"{self.name}-{split}-*.parquet")
        numbered = [part for part in parts if part.stem.removeprefix(f"{self.name}-{split}-").isdigit()]
        return [*([whole] if whole.is_file() else []), *sorted(numbered)]

    def _file(self, split: str, number: int, count: int) -> str:
        if count == 1:
            return f"{self.name}-{split}.parquet"
        return f"{self.name}-{split}-{number:0{max(2, len(str(count - 1)))}d}.parquet"

    def _agree(self, options: dict[str, object]) -> None:
        if not self.is_settled and not any(self.num_done(split) for split in SPLITS):
            # A run that got no file done binds nobody.
            self._write_state({"options": options})
            return
        before = self._read_state()["options"]
        other = [key for key in options if before.get(key) != options[key]]
        if other:
            key = other[0]
            raise DataError(
                f"{self.folder} was begun with {key} {before.get(key)!r}, not {options[key]!r}: "
                "finish it as it was begun, or remove that folder"
            )

    def _read_state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder} is broken, remove it: {error}") from error
        return state

    def _write_state(self, state: Mapping[str, object]) -> None:
        _write_whole(self.folder / _STATE, json.dumps(state, indent=2))


def bad_line(row: BadRow) -> str:
    """A row that was left out, as one line of a report."""
    return json.dumps(asdict(row), ensure_ascii=False) + "\n"


def _write_whole(path: Path, text: str) -> None:
    beside = path.with_suffix(path.suffix + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
