"""Layout: what every reader is, and the list of them all.

Holds the kinds' names and how the reader of one is found: by file name, in `readers/`. Never reads a source, and
imports a reader only when it is asked for, so that `--help` answers at once.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model.training.prepare.rows import LabelName, Reading
from model.training.prepare.sources import Sources

KINDS: Final[dict[str, str]] = {
    "recordio": "InsightFace RecordIO: folder with train.rec and train.idx (MS1MV2, MS1MV3, Glint360K, WebFace)",
    "verification-bin": "InsightFace verification sets: lfw.bin, cfp_fp.bin, agedb_30.bin, calfw.bin, cplfw.bin",
    "celeba": "CelebA: img_align_celeba or img_celeba, list_attr_celeba.txt and the lists beside it",
    "lfw": "LFW: lfw/NAME/NAME_0001.jpg and pairs.txt",
    "imdb-wiki": "IMDB-WIKI: imdb.mat or wiki.mat and its folders of images",
    "utkface": "UTKFace: [age]_[gender]_[race]_[date].jpg",
    "fgnet": "FG-NET: 001A02.JPG",
    "morph": "MORPH Album 2: its csv, or images named 009055_1M54.JPG",
    "adience": "Adience: fold_0_data.txt to fold_4_data.txt and the folder faces or aligned",
    "agedb": "AgeDB: 0_MariaCallas_35_f.jpg",
    "clap": "CLAP2015 (LAP): csv of name;mean;sigma and the images",
    "rafdb": "RAF-DB basic: EmoLabel/list_patition_label.txt, Image/original or Image/aligned",
    "affectnet": "AffectNet: training.csv and validation.csv, or train_set and val_set",
    "fer2013": "FER2013: fer2013.csv (or icml_face_data.csv)",
    "ferplus": "FERPlus: fer2013new.csv beside fer2013.csv",
    "swinface-ages": "SwinFace's age and gender lists: label.txt of `name age gender` and data/",
    "swinface-celeba": "SwinFace's CelebA list: `name` and 40 values in SwinFace's own order",
    "swinface-affectnet": "SwinFace's AffectNet list: the label in the third column",
    "faer": "FAER's CelebA lists: train_label.txt and test_label.txt beside train/ and test/",
    "list": "face_analysis_pytorch's lists: `path race gender age` or `path person`",
    "lmdb": "face_analysis_pytorch's LMDB of [image, label]; --label says which",
    "folder": "a folder an identity, images inside",
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a reader may be told: the set's name, for identities, and which label an unnamed number is."""

    name: str
    label: LabelName | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which a set is distributed.

    Attributes:
        title: what people call it.
        name: the set's name, unless the person gives another.
        read: opens a source; rows come lazily and in the same order each time. Raises DataError if the source is not
            laid out so.
        splits: this project's split of each of the set's own parts; a part that is not named here goes where rows
            without a part go.
        default_split: where rows without a part go, less the share held out.
        has_age_sigma: whether the rows fill the column `age_sigma`.
    """

    title: str
    name: str
    read: Callable[[Sources, ReadOptions], Reading]
    splits: tuple[tuple[str, str], ...] = (("train", "train"), ("val", "val"), ("test", "test"))
    default_split: str = "train"
    has_age_sigma: bool = False


def find_layout(kind: str) -> Layout:
    """The layout of a kind, one of `KINDS`: what `readers/KIND.py` calls `LAYOUT`."""
    module = importlib.import_module(f"model.training.prepare.readers.{kind.replace('-', '_')}")
    layout: Layout = module.LAYOUT
    return layout
