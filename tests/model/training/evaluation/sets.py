"""Validation sets in the true layout, whose crops carry their row number in their colours, and a model that reads it.

The oracle answers what a table says for that number, so that every figure of an evaluation can be worked out by hand.
It never sees a label.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from tests import packs

SIDE_PX = 112
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("image", pa.binary()),
        ("identity", pa.string()),
        ("age", pa.float32()),
        ("gender", pa.int8()),
        ("race", pa.int8()),
        ("expression", pa.int8()),
        ("attributes", pa.list_(pa.int8(), 40)),
        ("teacher", pa.list_(pa.float16(), 128)),
    ]
)


@dataclass
class Oracle:
    """Answers by the row number that a crop's colours carry; keeps the sizes of the batches that it was asked in."""

    answers: Mapping[str, NDArray[np.float32]]
    batches: list[int] = field(default_factory=list)
    side_px: int = SIDE_PX

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (self.side_px, self.side_px, 3)
        self.batches.append(len(images))
        numbers = images[:, 50, 50, 0].astype(int) * 256 + images[:, 50, 50, 1]
        return {task: answer[numbers] for task, answer in self.answers.items()}


def crop(number: int, side_px: int = SIDE_PX) -> bytes:
    """A lossless WebP of one colour, red and green being the number's two bytes."""
    file = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (number // 256, number % 256, 77)).save(file, "WEBP", lossless=True)
    return file.getvalue()


def write_set(
    folder: Path,
    dataset: str,
    num_rows: int,
    labels: Mapping[str, Sequence[object]],
    pairs: Sequence[tuple[int, int, int, int]] | None = None,
    *,
    split: str = "val",
    form: Mapping[str, str] | None = None,
) -> None:
    """Writes `{dataset}-{split}.parquet`, rows numbered from 0, and its pairs (fold, row a, row b, same), if any.

    A label `age_sigma` adds that column; `form` is the file's own metadata, of which `mien.side_px` sizes the crops.
    """
    none = [None] * num_rows
    schema = _SCHEMA.append(pa.field("age_sigma", pa.float32())) if "age_sigma" in labels else _SCHEMA
    columns = {name: list(labels.get(name, none)) for name in schema.names}
    columns["name"] = [f"{number}.jpg" for number in range(num_rows)]
    side_px = int((form or {}).get("mien.side_px", SIDE_PX))
    columns["image"] = [crop(number, side_px) for number in range(num_rows)]
    table = pa.table(columns, schema=schema.with_metadata(dict(form or {})))
    pq.write_table(table, folder / f"{dataset}-{split}.parquet")
    if pairs is not None:
        with (folder / f"{dataset}-{split}-pairs.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["fold", "name_a", "name_b", "same"])
            writer.writerows((fold, f"{a}.jpg", f"{b}.jpg", same) for fold, a, b, same in pairs)


def write_scenes(folder: Path) -> None:
    """Writes `detection-val.parquet`: two photographs with one bright square each, one with none found, and two rooms.

    The tiny pack's detector finds the squares; the dark face of the third photograph is labelled and cannot be found.
    """
    rows: list[dict[str, object]] = []
    painted: list[list[packs.Square]] = [[packs.Square(48, 48, 64)], [packs.Square(64, 32, 32)], [], [], []]
    for number, squares in enumerate(painted):
        boxes = [[float(s.x), float(s.y), float(s.x + s.side), float(s.y + s.side)] for s in squares]
        boxes = [[10.0, 10.0, 60.0, 60.0]] if number == 2 else boxes
        file = io.BytesIO()
        Image.fromarray(packs.paint(squares)).save(file, "WEBP", lossless=True)
        rows.append(
            {
                "name": f"{number}.jpg",
                "kind": "photo" if number < 3 else "room",
                "image": file.getvalue(),
                "boxes": boxes,
                "landmarks": [[[x1 + 10.0 * k, y1 + 5.0 * k] for k in range(5)] for x1, y1, _, _ in boxes],
                "scores": [0.9] * len(boxes),
            }
        )
    points = pa.list_(pa.list_(pa.list_(pa.float32())))
    schema = pa.schema(
        [
            ("name", pa.string()),
            ("kind", pa.string()),
            ("image", pa.binary()),
            ("boxes", pa.list_(pa.list_(pa.float32()))),
            ("landmarks", points),
            ("scores", pa.list_(pa.float32())),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "detection-val.parquet")
