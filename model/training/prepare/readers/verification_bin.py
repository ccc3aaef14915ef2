"""InsightFace's verification sets: `lfw.bin`, `cfp_fp.bin`, `agedb_30.bin`, `calfw.bin`, `cplfw.bin`.

Layout: see `model.training.prepare.verification_bin`. The pairs' folds are those of the published evaluation: ten
runs of pairs in the file's order, the first ones longer by one where ten does not divide them (scikit-learn's KFold
without shuffling, as in InsightFace's eval/verification.py, MIT). Images are written as often as pairs name them.
Never compares the images: who measures on the pairs does.
"""

from model.training.data_error import DataError
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BytesImage, FaceRow, Labels, Pair, Reading
from model.training.prepare.sources import Sources
from model.training.prepare.verification_bin import read_bin

_NUM_FOLDS = 10


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Both images of every pair, and the pairs."""
    files = sources.matching(r".+\.bin")
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise DataError(f"a preparation takes one .bin file, and {sources.paths[0]} gives: {found}")
    content = read_bin(files[0])
    names = [f"{options.name}-{number:05d}.jpg" for number in range(len(content.images))]
    rows = (
        FaceRow(name, BytesImage(image), Labels(), aligned="arcface-5pt")
        for name, image in zip(names, content.images, strict=True)
    )
    long, rest = divmod(len(content.same), _NUM_FOLDS)
    folds = [fold for fold in range(_NUM_FOLDS) for _ in range(long + (fold < rest))]
    pairs = tuple(
        Pair(fold, names[2 * pair], names[2 * pair + 1], bool(same))
        for pair, (fold, same) in enumerate(zip(folds, content.same.tolist(), strict=True))
    )
    return Reading(rows, len(names), pairs)


LAYOUT = Layout("an InsightFace verification set", "", read, default_split="val")
