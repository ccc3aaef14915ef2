"""face_analysis_pytorch's LMDB: the images of a list or a folder, in one file, with one label each.

Layout: see `model.training.prepare.lmdb_form`. The file does not say what its labels are: `--label` does. Labels that
are negative or over the largest class are left out, as they are when such a file is made of a list. Never guesses
what the labels are.
"""

from collections.abc import Iterator
from pathlib import Path

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.lmdb_form import iterate_lmdb, lmdb_length
from model.training.prepare.readers.list import LARGEST
from model.training.prepare.rows import BadRow, BytesImage, FaceRow, LabelName, Labels, Reading
from model.training.prepare.sources import Sources


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every entry of the file."""
    if options.label is None:
        raise DataError("an LMDB does not say what its labels are: give --label race, gender, age or identity")
    path = next((path for path in sources.paths if path.is_file()), None)
    if path is None:
        inside = sources.find("data.mdb")
        path = inside.parent if inside is not None else next(iter(sources.matching(r".+\.lmdb")), None)
    if path is None:
        raise DataError(f"{sources.paths[0]} holds no .lmdb file and no data.mdb")
    return Reading(_rows(path, options.name, options.label), lmdb_length(path))


def _rows(path: Path, name: str, label: LabelName) -> Iterator[FaceRow | BadRow]:
    for key, image, number in iterate_lmdb(path):
        row = f"{key}.jpg"
        try:
            if image is None or number is None:
                raise LabelError("no [image, label]")
            if not 0 <= number <= LARGEST.get(label, number):
                raise LabelError(f"{label} is out of range")
        except LabelError as error:
            yield BadRow(row, str(error))
            continue
        yield FaceRow(row, BytesImage(image), _labels(name, label, number))


def _labels(name: str, label: LabelName, number: int) -> Labels:
    if label == "identity":
        return Labels(identity=f"{name}:{number}")
    if label == "age":
        return Labels(age=float(number))
    return Labels(gender=number) if label == "gender" else Labels(race=number)


LAYOUT = Layout("a face_analysis_pytorch LMDB", "", read)
