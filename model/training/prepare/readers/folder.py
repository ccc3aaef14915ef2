"""A folder an identity: `people/NAME/*.jpg`, as torchvision's ImageFolder reads it.

Layout: every image's own folder is its identity, however deep it lies. VGGFace2, CASIA-WebFace as images,
MS-Celeb-1M's extracted copies and one's own photographs are laid out so. An image that lies in no folder of its own
is left out. Never takes two folders of one name for two people.
"""

from collections.abc import Iterator
from pathlib import Path

from model.training.data_error import DataError
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import Sources


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every image."""
    total = sum(1 for _ in sources.images())
    if not total:
        raise DataError(f"{sources.paths[0]} holds no image")
    return Reading(_rows(sources, options.name), total)


def _rows(sources: Sources, name: str) -> Iterator[FaceRow | BadRow]:
    roots = {path.resolve() for path in sources.paths}
    for path in sources.images():
        row = f"{path.parent.name}/{path.name}"
        if path.parent.resolve() in roots or path.resolve() in roots:
            yield BadRow(path.name, "not in a folder of its person")
        else:
            yield FaceRow(row, FileImage(Path(path)), Labels(identity=f"{name}:{path.parent.name}"))


LAYOUT = Layout("a folder an identity", "", read)
