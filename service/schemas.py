"""Schemas: what the HTTP contract says of queries, bodies and answers, for validation at the rim and for the reference.

Queries are validated by these models. Answers are built for speed by `service.answers` and never pass through their
models here; a test holds real answers against them. Never holds a default that the pack decides.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.runtime.labels import Task
from model.runtime.pack import Figure, TrainingSet, Verification
from model.runtime.twin_part import HalfPart, TwinPart

MIN_SCORE: Final = 0.05  # under it a detector answers noise, and one caller's noise would cost everyone's time


class _Rim(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class AnalyzeQuery(_Rim):
    """Query of `/analyze`."""

    tasks: str | None = Field(
        default=None,
        description="What to answer, separated by commas: embedding, expression, age, gender, attributes, race. "
        "Default: every task of the pack but race, unless race is all it has.",
        examples=["embedding,age"],
    )
    max_faces: int | None = Field(
        default=None, ge=1, description="Faces answered an image, largest first. Default: all."
    )
    min_score: float | None = Field(
        default=None, ge=MIN_SCORE, le=1, allow_inf_nan=False, description="Least detection score. Default: the pack's."
    )
    min_face: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="Least length of a box's shorter side, in pixels of the image.",
    )
    embedding: Literal["float", "base64"] = Field(
        default="float", description="Embeddings as numbers, or as base64 of little-endian float32."
    )
    aligned: bool = Field(
        default=False,
        description="Each image is one crop, aligned as the tasks' analyzer needs it: one face, the box the image; "
        "other sizes are resized. Tasks of analyzers of different alignments are refused.",
    )
    crops: bool = Field(default=False, description="Each face carries its aligned crop, a JPEG in base64.")


class CriterionQuery(_Rim):
    """Query of `/verify` and `/search`."""

    fmr: float | None = Field(
        default=None, gt=0, lt=1, allow_inf_nan=False,
        description="False-match rate whose calibrated threshold decides. Default: 0.001.",
    )  # fmt: skip
    threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        allow_inf_nan=False,
        description="Similarity that decides, in place of a calibrated one.",
    )


Vector = Annotated[list[float] | str, Field(description="An embedding: numbers, or base64 of little-endian float32.")]
Base64 = Annotated[str, Field(description="An image file in base64.", json_schema_extra={"format": "byte"})]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class AnalyzeBody(_Rim):
    """Images in base64."""

    images: list[Base64] = Field(min_length=1)


class VerifyBody(_Rim):
    """Two images in base64, or two embeddings."""

    image_a: Base64 | None = None
    image_b: Base64 | None = None
    embedding_a: Vector | None = None
    embedding_b: Vector | None = None
    embedding_space: str | None = Field(
        default=None, description="Where the embeddings come from; another than the pack's is 422."
    )


class SearchBody(_Rim):
    """An embedding, and those to search among."""

    probe: Vector
    gallery: list[Vector] = Field(min_length=1)
    top: int = Field(default=5, ge=1, description="Matches answered, most similar first.")
    embedding_space: str | None = Field(
        default=None, description="Where the embeddings come from; another than the pack's is 422."
    )


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class ImageProblem(_Rim):
    """Why one image has no faces."""

    status: int
    title: str
    detail: str


class ModelAnswer(_Rim):
    """The pack that answered."""

    name: str
    version: str
    embedding_space: str | None = Field(description="Embeddings are comparable only within one space.")
    precision: Literal["float32", "int8", "float16", "mixed"] = Field(
        description="What the analyzers compute in; mixed: some by twins in int8 or float16, the others in float32."
    )


class Age(_Rim):
    """Age."""

    years: float


class Gender(_Rim):
    """The likelier label, and its probability."""

    label: Literal["female", "male"]
    probability: float


class Expression(_Rim):
    """The likeliest label, and all probabilities."""

    label: str
    probabilities: dict[str, float]


class Race(_Rim):
    """The likeliest label, and all probabilities."""

    label: Literal["white", "black", "asian", "indian", "other"]
    probabilities: dict[str, float]


class Landmarks(_Rim):
    """Five points in pixels of the upright image; left and right are the viewer's."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point


class QualityAnswer(_Rim):
    """Sharpness 0 to 1, pose in degrees, and the shorter side of the box in pixels."""

    sharpness: float
    yaw: float
    pitch: float
    roll: float
    size: float


class FaceAnswer(_Rim):
    """One face. A task that was not asked for has no key."""

    box: list[float] = Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the upright image.")
    score: float | None
    landmarks: Landmarks | None
    embedding: Vector | None = None
    age: Age | None = None
    gender: Gender | None = None
    expression: Expression | None = None
    attributes: dict[str, float] | None = Field(
        default=None, description="CelebA's forty attributes, each a probability."
    )
    race: Race | None = None
    quality: QualityAnswer | None
    crop: str | None = Field(default=None, description="The aligned crop, a JPEG in base64.")


class ImageAnswer(_Rim):
    """One image's faces, largest first; or why it has none."""

    name: str | None
    width: int | None
    height: int | None
    error: ImageProblem | None
    faces: list[FaceAnswer]


class TimingsAnswer(_Rim):
    """Milliseconds, of each stage the longest that any image took; `total` counts from the headers.

    `queue` is the wait for a free lane: to decode or cut, and for runs of the detector and the analyzers.
    """

    decode: float
    detect: float
    align: float
    queue: float
    infer: float
    total: float


class AnalyzeAnswer(_Rim):
    """Every face of every image, in the order in which the images came."""

    model: ModelAnswer
    images: list[ImageAnswer]
    timings_ms: TimingsAnswer


class VerifyAnswer(_Rim):
    """Whether two faces are one person's."""

    same: bool | None
    confidence: float | None = Field(
        description="Probability that `same` is right, true or false, at even odds beforehand; null if uncalibrated."
    )
    similarity: float = Field(description="Cosine of the embeddings.")
    threshold: float | None
    fmr: float | None
    faces: list[FaceAnswer | None] = Field(min_length=2, max_length=2)
    model: ModelAnswer
    timings_ms: TimingsAnswer


class Match(_Rim):
    """One row of the gallery."""

    index: int
    similarity: float
    same: bool | None


class SearchAnswer(_Rim):
    """The most similar rows, ranked; nothing is stored."""

    matches: list[Match]
    threshold: float | None
    fmr: float | None
    model: ModelAnswer


class PackAnswer(_Rim):
    """The pack that is served."""

    name: str
    version: str
    license: str
    allowed_use: str
    training_data: list[TrainingSet]
    tasks: list[Task]
    labels: dict[str, list[str]]
    embedding_dim: int | None
    embedding_space: str | None
    min_score: float
    verification: Verification | None
    measured: list[Figure]
    device: str
    precision: Literal["float32", "int8", "float16", "mixed"]
    twins: list[TwinPart | HalfPart] = Field(
        description="int8 and float16 twins of the analyzers, with what was measured of them."
    )


class Health(_Rim):
    """A probe's answer."""

    status: str


QUERIES: Final[dict[str, type[BaseModel]]] = {
    "/analyze": AnalyzeQuery,
    "/verify": CriterionQuery,
    "/search": CriterionQuery,
}


def reference_schemas() -> dict[str, Any]:
    """Schemas of the bodies and of the problem, which no route declares by itself, for the reference's components."""
    models = (AnalyzeBody, VerifyBody, SearchBody, Problem)
    return {model.__name__: model.model_json_schema(ref_template="#/components/schemas/{model}") for model in models}
