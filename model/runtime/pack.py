"""The pack: a folder with `pack.json` and ONNX files beside it, everything that the service loads.

Holds the schema of `pack.json` and what finds, reads and verifies a pack on disk. Never opens an ONNX file (see
`model.runtime.session`) and never writes a pack (see `export`).
"""

import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError, model_validator

from model.runtime.labels import Task
from model.runtime.part import KnownAnswer, PackFile, Part
from model.runtime.quality_curve import QualityCurve
from model.runtime.scales import ONE_SCALE, Scales, check_scales
from model.runtime.twin_part import HalfPart, TwinPart, TwinPrecision

PACKS_DIR: Final = Path(__file__).resolve().parent.parent / "packs"  # packs that ship inside the distribution
DEFAULT_PACK: Final = "nano"
MANIFEST: Final = "pack.json"
FORMAT: Final = 1

Alignment = Literal["arcface-5pt", "box", "celeba"]
Precision = Literal["float32"] | TwinPrecision


class PackError(ValueError):
    """A pack that cannot be used; the message is one clear line for the person who chose it."""


class DetectorPart(PackFile):
    """An SCRFD-format detector with key points.

    Its input is NCHW float32 RGB, `(pixel - mean) / std`; its outputs are scores, boxes, key points at strides 8 to 32.
    `scales` are those at which a picture is looked at: 1 fits it into the input, 0.5 shows it half as large where the
    first look found no sure face or one that fills the frame, 2 shows a large picture in tiles, two along its side.
    `blend` takes a face's key points from all anchors that saw it (see `model.runtime.blending`). `trims` shows a
    picture on a canvas that ends soon after it, where the device gains by it; for a graph that takes any size.
    """

    input_width: int = Field(default=640, ge=32, multiple_of=32)
    input_height: int = Field(default=640, ge=32, multiple_of=32)
    mean: float = 127.5
    std: float = Field(default=128.0, gt=0)
    min_score: float = Field(default=0.5, gt=0, lt=1)
    nms_iou: float = Field(default=0.4, gt=0, lt=1)
    scales: Scales = ONE_SCALE
    blend: bool = False
    trims: bool = False

    def at_scales(self, scales: tuple[float, ...]) -> "DetectorPart":
        """The same detector, looking at pictures at other scales; `check_scales` says which there may be."""
        return self.model_copy(update={"scales": check_scales(scales)})


class AnalyzerPart(PackFile):
    """A uint8-in analyzer: `images` (N, side, side, 3) RGB crops to the outputs named by `tasks`."""

    side_px: int = Field(default=112, ge=16, le=1024)
    alignment: Alignment = "arcface-5pt"
    # Of the crop's side to the box's longer one; `box` alignment only.
    box_scale: float | None = Field(default=None, gt=0)
    tasks: tuple[Task, ...] = Field(min_length=1)
    labels: dict[Task, tuple[str, ...]]
    embedding_dim: int | None = Field(default=None, ge=1)
    opset: int = Field(ge=13)
    # What the graph divides a task's logits by (one number; of `attributes` one for all or one each); 1 where absent.
    temperatures: dict[Task, tuple[float, ...]] = Field(default={})
    known_answer: KnownAnswer
    int8: TwinPart | None = None
    float16: HalfPart | None = None
    # Whose weights these are, for people, where they were imported: system, file, what is known of their training.
    origin: str | None = None

    @property
    def precision(self) -> Precision:
        """The twin's where the graph is one (see `model.runtime.twins`), else `float32`."""
        return next((name for name, twin in self.twins.items() if twin.file == self.file), "float32")

    @property
    def twins(self) -> dict[TwinPrecision, TwinPart | HalfPart]:
        """Its graphs in other precisions, as many as it has."""
        found: dict[TwinPrecision, TwinPart | HalfPart | None] = {"int8": self.int8, "float16": self.float16}
        return {name: twin for name, twin in found.items() if twin is not None}


Interval = tuple[float, float]  # lower and upper end


class Threshold(Part):
    """The cosine similarity at which `fmr` of the impostor pairs are wrongly accepted, and what else holds there.

    The intervals say how far each would lie on other people, see `Intervals`: where the threshold of this rate would
    lie, and what FMR and TAR would be at this threshold.
    """

    fmr: float = Field(gt=0, lt=1)
    threshold: float = Field(ge=-1, le=1)
    tar: float = Field(ge=0, le=1)
    threshold_interval: Interval | None = None
    fmr_interval: Interval | None = None
    tar_interval: Interval | None = None


class Intervals(Part):
    """How the thresholds' intervals were made: percentiles over bootstrap samples of people, not of pairs."""

    level: float = Field(gt=0, lt=1)
    num_resamples: int = Field(ge=1)
    num_identities: int = Field(ge=2)


class ConfidenceCurve(Part):
    """How likely a pair is one person's, by its similarity, where it is beforehand as likely as not to be.

    At each of the rising similarities the natural logarithm of the likelihood ratio, genuine to impostor, which never
    falls; between them it is linear, outside constant. The probability is 1 / (1 + exp(-log_ratio)). `ece` is the
    curve's expected calibration error on people that it was not fitted on, of as many genuine as impostor pairs.
    """

    similarities: tuple[float, ...] = Field(min_length=2)
    log_ratios: tuple[float, ...] = Field(min_length=2)
    ece: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _require_monotone(self) -> "ConfidenceCurve":
        if len(self.similarities) != len(self.log_ratios):
            raise ValueError("similarities and log_ratios must be as many")
        if any(b <= a for a, b in pairwise(self.similarities)) or any(b < a for a, b in pairwise(self.log_ratios)):
            raise ValueError("similarities must rise, and log_ratios must not fall")
        return self


class Verification(Part):
    """Thresholds calibrated on pairs of images: every pair of one set, or those of lists, as `calibrated_on` says."""

    calibrated_on: str
    num_images: int = Field(ge=2)
    num_impostor_pairs: int = Field(ge=1)
    num_genuine_pairs: int = Field(ge=1)
    thresholds: tuple[Threshold, ...] = Field(min_length=1)
    intervals: Intervals | None = None
    confidence: ConfidenceCurve | None = None


class Figure(Part):
    """One measured figure: a metric of a task on a set, for everyone or for one group, and the command that made it."""

    task: str
    metric: str
    value: float
    dataset: str
    group: str = "all"
    num_samples: int = Field(ge=1)
    command: str
    low: float | None = None  # ends of its 95 % interval, where one was measured
    high: float | None = None


class Picture(PackFile):
    """A picture of the card, and what it shows."""

    title: str


class TrainingSet(Part):
    """A set of training data and the terms under which its owners give it."""

    name: str
    num_rows: int = Field(ge=1)
    terms: str


class TrainingRun(Part):
    """How one network of the pack was trained, as far as its run's own records tell."""

    part: Literal["analyzer", "detector"]
    num_steps: int = Field(ge=1)
    num_images: int = Field(ge=1)  # drawn over all steps, so most of them many times
    seconds: float | None = Field(default=None, gt=0)
    machine: str | None = None
    teacher: str | None = None  # whose embeddings it was taught to imitate
    file: str | None = None  # the graph that came of it, where the pack has analyzers of several trainings
    role: str | None = None  # of an earlier training: what of it went into the pack, e.g. its weights as a start
    watts: float | None = Field(default=None, gt=0)  # drawn by the machine while it trained, as `energy_basis` says
    energy_kwh: float | None = Field(default=None, gt=0)
    grid_g_per_kwh: float | None = Field(default=None, gt=0)  # of CO2 equivalents, by the electricity
    carbon_kg_co2e: float | None = Field(default=None, gt=0)
    energy_basis: str | None = None  # where both numbers come from: stated by a person, or assumed


class Pack(Part):
    """`pack.json`, whole."""

    format: Literal[1] = FORMAT
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str
    license: str
    allowed_use: str
    training_data: tuple[TrainingSet, ...] = ()
    training: tuple[TrainingRun, ...] = ()
    detector: DetectorPart
    analyzers: tuple[AnalyzerPart, ...] = Field(min_length=1)
    embedding_space: str | None = None
    verification: Verification | None = None
    measured: tuple[Figure, ...] = ()
    seen: tuple[Figure, ...] = ()  # the same on rows that were trained on: what a network knows by heart
    quality: tuple[QualityCurve, ...] = ()
    pictures: tuple[Picture, ...] = ()  # of the card, beside it
    checkpoints: tuple[PackFile, ...] = ()  # half-precision EMA weights, from which training can go on
    exported_with: dict[str, str] = Field(default={})

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Every task of the pack, in the order in which its analyzers name them."""
        return tuple(task for analyzer in self.analyzers for task in analyzer.tasks)

    @property
    def precision(self) -> Precision | Literal["mixed"]:
        """What its analyzers compute in; `mixed` where one has a twin and another has none."""
        found = {analyzer.precision for analyzer in self.analyzers}
        return found.pop() if len(found) == 1 else "mixed"

    def files(self) -> tuple[PackFile, ...]:
        """Every file that the pack states a hash for, checkpoints and the card's pictures included."""
        twins = (twin for analyzer in self.analyzers for twin in analyzer.twins.values())
        return (self.detector, *self.analyzers, *twins, *self.checkpoints, *self.pictures)


def find_pack(name_or_path: str, packs_dir: Path = PACKS_DIR) -> Path:
    """Finds a pack's folder: by path where the text holds a separator or names a folder with a manifest, else by name.

    Raises:
        PackError: if there is none, naming the packs that there are.
    """
    candidate = Path(name_or_path).expanduser()
    if os.sep in name_or_path or (candidate / MANIFEST).is_file():
        if (candidate / MANIFEST).is_file():
            return candidate
        raise PackError(f"no pack at {name_or_path}: a pack is a folder that holds {MANIFEST}")
    if (packs_dir / name_or_path / MANIFEST).is_file():
        return packs_dir / name_or_path
    known = ", ".join(list_packs(packs_dir)) or "none"
    raise PackError(f"no pack named {name_or_path!r}; there are: {known}")


def list_packs(packs_dir: Path = PACKS_DIR) -> tuple[str, ...]:
    """Names of the packs in a folder of packs, sorted."""
    return tuple(sorted(path.parent.name for path in packs_dir.glob(f"*/{MANIFEST}")))


def read_pack(folder: Path) -> Pack:
    """Reads `pack.json`, without looking at the files that it names.

    Raises:
        PackError: if the manifest is missing, is not JSON, or breaks the schema; the first breach is named.
    """
    try:
        return Pack.model_validate_json((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise PackError(f"cannot read {folder / MANIFEST}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole file"
        raise PackError(f"{folder / MANIFEST}: {where}: {first['msg']}") from error


def verify_pack(folder: Path, pack: Pack, *, checkpoints: bool = False) -> None:
    """Verifies the hash of every file that serving needs, and of the checkpoints and pictures too if asked.

    Raises:
        PackError: naming the first file that is missing or differs.
    """
    spared = set() if checkpoints else {part.file for part in (*pack.checkpoints, *pack.pictures)}
    for part in pack.files():
        if part.file not in spared and sha256_of(folder / part.file) != part.sha256:
            raise PackError(f"{folder / part.file}: its SHA-256 is not the one that {MANIFEST} states")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        PackError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PackError(f"cannot read {path}: {error.strerror}") from error


def schema() -> str:
    """The JSON schema of `pack.json`, as text."""
    return json.dumps(Pack.model_json_schema(), indent=2)
