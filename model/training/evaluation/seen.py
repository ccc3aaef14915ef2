"""Seen: the same figures on rows that were trained on, so that what a network knows by heart can be told from the rest.

Holds the fixed random sample of a training split: rows, or people with their pictures where a set has identities, as
its validation split has. Never measures by itself: the sample is a folder of parquet files like any other.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.training.dataset import DataError, set_files
from model.training.evaluation.groups import ALL
from model.training.evaluation.report import Measure
from model.training.evaluation.seen_pairs import training_name

NUM_FACES: Final = 2000  # of each set; about 1,100 where they come as people
_NUM_PEOPLE: Final = 60
_MIN_PICTURES: Final = 10  # of a person: fewer make few pairs of one person
NUM_PHOTOS: Final = 200
_SEED: Final = 7
_TRAIN: Final = "train"
# Neither what was chosen, nor what is no error, nor single classes and attributes.
_NOT_STATED: Final = (
    "threshold_at",
    "min_score",
    "bias",
    "ece",
    "confidence_ece",
    "recall_",
    "accuracy_",
    "balanced_accuracy_",
)
_STATED: Final = ("recall_at_iou", "accuracy_mean", "balanced_accuracy_mean")


@contextmanager
def sampled_faces(
    data: Path, names: tuple[str, ...], limit: int | None = None
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A folder that lasts as long as the block, with `NAME-val.parquet` for each set that has a training split.

    Each holds rows of the training split alone, chosen by the same draw every time.

    Args:
        data: the folder with the parquet files.
        names: sets to look for.
        limit: no more rows of a set than these.

    Yields:
        The folder, and the sets in it.

    Raises:
        DataError: if a file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="mien-seen-") as folder:
        kept = tuple(name for name in names if _sample(data, name, Path(folder), _choose_faces, limit))
        yield Path(folder), kept


@contextmanager
def sampled_scenes(data: Path) -> Iterator[Path | None]:
    """The same of the detector's photographs and rooms, as `detection-val.parquet`; None without a training split."""
    with tempfile.TemporaryDirectory(prefix="mien-seen-") as folder:
        yield Path(folder) if _sample(data, "detection", Path(folder), _choose_scenes, None) else None


def stated(measures: tuple[Measure, ...]) -> tuple[Measure, ...]:
    """Of a sample's measures those that a gap is stated for: everyone's, by the name of the training split."""
    return tuple(
        Measure(
            row.task, row.metric, row.value, training_name(row.dataset), row.num_samples, low=row.low, high=row.high
        )
        for row in measures
        if row.group == ALL and (row.metric.startswith(_STATED) or not row.metric.startswith(_NOT_STATED))
    )


def _sample(
    data: Path, name: str, folder: Path, choose: Callable[[pa.Table, int | None], NDArray[np.int64]], limit: int | None
) -> bool:
    files = set_files(data, name, _TRAIN)
    if not files:
        return False
    try:
        # Mapped, so that images which are not chosen are never read.
        table = pa.concat_tables([pq.read_table(file, memory_map=True) for file in files], promote_options="default")
        chosen = table.take(pa.array(choose(table, limit)))
        pq.write_table(
            chosen.replace_schema_metadata(pq.read_schema(files[0]).metadata), folder / f"{name}-val.parquet"
        )
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(f"cannot read {files[0]}: {str(error).splitlines()[0]}") from error
    return True


def _choose_faces(table: pa.Table, limit: int | None) -> NDArray[np.int64]:
    rng = np.random.default_rng(_SEED)
    number = min(NUM_FACES if limit is None else limit, table.num_rows)
    counts = pc.value_counts(pc.drop_null(table["identity"]))
    several = sorted(entry["values"] for entry in counts.to_pylist() if entry["counts"] >= _MIN_PICTURES)
    if len(several) < _NUM_PEOPLE:
        return np.sort(rng.choice(table.num_rows, number, replace=False))
    people = [several[index] for index in rng.choice(len(several), _NUM_PEOPLE, replace=False)]
    of_people = pc.is_in(table["identity"], pa.array(people)).to_numpy()
    return np.flatnonzero(of_people)[:number]


def _choose_scenes(table: pa.Table, _: int | None) -> NDArray[np.int64]:
    rng = np.random.default_rng(_SEED)
    kinds = np.array(table["kind"].to_pylist())
    parts = [np.flatnonzero(kinds == kind) for kind in ("photo", "room")]
    return np.sort(np.concatenate([rng.permutation(rows)[:NUM_PHOTOS] for rows in parts]))
