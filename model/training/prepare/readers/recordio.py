"""InsightFace's RecordIO: MS1MV2 (faces_emore), MS1MV3, Glint360K, WebFace and their like.

Layout: a folder with `train.rec` (records of MXNet's image header and a JPEG, 112 x 112, aligned by five points),
`train.idx` (lines of key and place) and `property` (`85742,112,112`: identities, height, width). Record 0 is no image
where its header carries two labels: the key after the last image, and the key after the last identity; the records
between are identities, their labels the range of their images' keys. An image's label is its identity's number, the
first of several where the header carries an array. Source: `MXFaceDataset` in InsightFace's
recognition/arcface_torch/dataset.py and `face2rec2.py` (MIT). Read here without mxnet; a `.rec` without an index is
scanned. Never imports mxnet.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.training.data_error import DataError
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.recordio import RecordError, RecordIndex, parse_record, read_index, read_record, scan_index
from model.training.prepare.rows import BadRow, BytesImage, FaceRow, Labels, Reading
from model.training.prepare.sources import Sources


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every image record, by key."""
    records = next((path for path in sources.paths if path.suffix == ".rec"), None)
    records = records or sources.need("InsightFace RecordIO", "train.rec")
    index_file = records.with_suffix(".idx")
    index = read_index(index_file) if index_file.is_file() else scan_index(records)
    keys = _image_keys(records, index)
    if not len(keys):
        raise DataError(f"{records} holds no image")
    return Reading(_rows(records, index, keys, options.name), len(keys))


def _image_keys(records: Path, index: RecordIndex) -> NDArray[np.int64]:
    if 0 not in index:
        return index.keys
    try:
        with records.open("rb") as file:
            file.seek(index.place(0))
            header = parse_record(read_record(file) or b"")
    except OSError as error:
        raise DataError(f"cannot read {records}: {error.strerror or error}") from error
    if header.is_single or header.data:
        return index.keys
    return index.keys[(index.keys >= 1) & (index.keys < header.labels[0])]


def _rows(records: Path, index: RecordIndex, keys: NDArray[np.int64], name: str) -> Iterator[FaceRow | BadRow]:
    num_identities = _num_identities(records)
    with records.open("rb") as file:
        for key in keys.tolist():
            row = f"{key}.jpg"
            try:
                file.seek(index.place(key))
                record = parse_record(read_record(file) or b"")
            except RecordError as error:
                yield BadRow(row, "broken record", str(error))
                continue
            identity = int(record.labels[0])
            if identity < 0 or (num_identities and identity >= num_identities):
                yield BadRow(row, "identity is none of the set's", str(identity))
                continue
            labels = Labels(identity=f"{name}:{identity}")
            yield FaceRow(row, BytesImage(record.data), labels, aligned="arcface-5pt")


def _num_identities(records: Path) -> int | None:
    """What `property` says; None where there is none."""
    path = records.with_name("property")
    if not path.is_file():
        return None
    first = path.read_text(encoding="utf-8", errors="replace").split(",")[0].strip()
    return int(first) if first.isdecimal() else None


LAYOUT = Layout("InsightFace RecordIO", "ms1mv2", read)
