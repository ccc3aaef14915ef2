"""Tables: the one door to pyarrow, which the serving install does not have: Parquet is written and read here alone.

pyarrow comes with the extra `tables` (and with `train`). Never imported by anything that serves, and never imports
pyarrow before a command asks for Parquet.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["text", "whole", "number", "vector"]
Values = Sequence[str | None] | Sequence[int | None] | Sequence[float | None] | Sequence[NDArray[np.float32] | None]
_MISSING: Final = 'Parquet needs pyarrow, which is not installed: pip install "mien[tables]", or name a .csv or .jsonl'


class TablesError(RuntimeError):
    """A Parquet file cannot be written or read; the message is one line."""


def check() -> None:
    """Makes sure that pyarrow is there, before hours of work end in its absence.

    Raises:
        TablesError: one line that says what to install.
    """
    _parquet()


def write_parquet(
    target: Path, columns: Mapping[str, Kind], batches: Iterator[Sequence[Values]], facts: Mapping[str, str]
) -> None:
    """Writes a file, a row group a batch, so that no more than one batch is in memory.

    Args:
        target: the file.
        columns: name to kind: text, whole (int32), number (float32), vector (list of float32).
        batches: of each column its values; None where there is none.
        facts: goes into the file's own metadata.

    Raises:
        TablesError: if pyarrow is missing.
        OSError: if the file cannot be written.
    """
    pq = _parquet()
    import pyarrow as pa

    types = {"text": pa.string(), "whole": pa.int32(), "number": pa.float32(), "vector": pa.list_(pa.float32())}
    fields = [pa.field(name, types[kind]) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata=dict(facts))
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            arrays = [pa.array(values, field.type) for values, field in zip(batch, fields, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def read_parquet(
    source: Path, wanted: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[dict[str, list[object]]]:
    """Reads columns, a batch of rows at a time; optional ones where they are there.

    Raises:
        TablesError: if pyarrow is missing, the file is no Parquet file, or a wanted column is not in it.
    """
    pq = _parquet()
    import pyarrow as pa

    try:
        with pq.ParquetFile(source) as file:
            there = file.schema_arrow.names
            if missing := [name for name in wanted if name not in there]:
                raise TablesError(f"{source} has no column {missing[0]}")
            names = [*wanted, *(name for name in optional if name in there)]
            for batch in file.iter_batches(batch_size=4096, columns=names):
                yield {name: _plain(batch.column(name)) for name in names}
    except pa.ArrowInvalid as error:
        raise TablesError(f"{source} is no Parquet file that can be read: {str(error).splitlines()[0]}") from None


def _plain(column: object) -> list[object]:
    """A column's values; lists of numbers as float32 arrays, which take a tenth of the room."""
    import pyarrow as pa

    if isinstance(column, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return [None if row.values is None else row.values.to_numpy(zero_copy_only=False) for row in column]
    found: list[object] = column.to_pylist()  # type: ignore[attr-defined]
    return found


def _parquet() -> ModuleType:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise TablesError(_MISSING) from None
    found: ModuleType = pq
    return found
