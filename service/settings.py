"""Settings: everything that an operator can choose, read from `MIEN_*` environment variables.

Each is documented and bounded here and nowhere else. Never read at import time, and never holds a key itself, only its
SHA-256.
"""

import difflib
import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.runtime.pack import DEFAULT_PACK
from model.runtime.scales import parse_scales
from service.cores import usable_cores
from service.errors import StartupError

PREFIX: Final = "MIEN_"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Settings(BaseSettings):
    """The service's settings; `MIEN_` and a field's name in capitals is its variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1", description="Address to listen on. Any but loopback needs keys, or `allow_anonymous`."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    pack: str = Field(
        default=DEFAULT_PACK, min_length=1, description="Name of a pack that ships, or path of a pack's folder."
    )
    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="Where graphs run; a missing `cuda` stops start-up."
    )
    workers: int = Field(default=1, ge=1, le=256, description="Processes behind the port; on `cuda` at most one a GPU.")
    precision: Literal["auto", "float32", "int8", "float16"] = Field(
        default="auto",
        description="Analyzers' own graphs or their twins, `int8` on a CPU, `float16` on a GPU; `auto`: `float32`, or "
        "`int8` where it was measured to be better on this kind of processor.",
    )
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="SHA-256 of each accepted key, in hexadecimal, separated by commas (printf %s KEY | sha256sum).",
    )
    allow_anonymous: bool = Field(default=False, description="Listen beyond loopback without keys.")
    max_files: int = Field(default=32, ge=1, le=1024, description="Images in one request; over it 413.")
    max_in_flight: int = Field(
        default=64, ge=1, le=65536, description="Images in flight at once, of each worker; over it 429."
    )
    max_body_mb: int = Field(
        default=32, ge=1, le=1024, description="Size of a request's body in MB of 1,000,000 bytes; over it 413."
    )
    max_pixels: int = Field(
        default=40_000_000, ge=1024, le=1_000_000_000, description="Pixels of one image; over it 413."
    )
    deadline_ms: int = Field(
        default=30_000, ge=1, le=600_000, description="From arrival to answer; `x-deadline-ms` may shorten it."
    )
    detect_scales: Annotated[tuple[float, ...] | None, NoDecode] = Field(
        default=None,
        description="Scales at which the detector looks at an image: `1`, `1,0.5` (faces that fill the frame), "
        "`1,0.5,2` (and small faces on large images); default: the pack's.",
    )
    head_seconds: float = Field(
        default=10,
        ge=1,
        le=600,
        description="How long a request's head may take to come; then the connection is closed.",
    )
    watchdog_seconds: float = Field(
        default=60, ge=1, le=3600, description="A run of a graph that takes longer hangs: 503, and `/livez` says so."
    )
    max_wait_ms: float = Field(
        default=0, ge=0, le=1000, description="How long a batch that is not full waits for company."
    )
    max_batch: int | None = Field(
        default=None, ge=1, le=64, description="Faces in one run; default 8 on the CPU, 64 on a GPU."
    )
    gpu_memory_mb: int | None = Field(
        default=None,
        ge=64,
        le=1_000_000,
        description="Most memory that each graph may hold on a GPU; default: no limit.",
    )
    cuda_graphs: bool = Field(
        default=True, description="On a GPU, record each batch size's run at the warm-up and launch it whole."
    )
    tensorrt: bool = Field(
        default=False, description="On a GPU, run the analyzers by TensorRT; stops start-up where it cannot."
    )
    tensorrt_cache: Path | None = Field(
        default=None,
        description="Folder that keeps TensorRT's engines from one start to the next; default: built at each, for "
        "minutes.",
    )
    lanes: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Graphs that run at once on the CPU, of each worker; default: its usable cores.",
    )
    decode_lanes: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Images decoded at once beside the graphs' lanes, of each worker: on a CPU what is no JPEG of up "
        "to 2 MB; default: its usable cores.",
    )
    keep_alive_seconds: int = Field(
        default=5,
        ge=1,
        le=3600,
        description="How long a connection may be idle between two requests; behind a load balancer, longer than that "
        "keeps its own.",
    )
    drain_delay_seconds: float = Field(
        default=0, ge=0, le=300, description="After SIGTERM, work is still taken for as long."
    )
    drain_seconds: float = Field(
        default=60, ge=1, le=600, description="After that, how long accepted work may take to finish."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )

    @field_validator("detect_scales", mode="before")
    @classmethod
    def _scales(cls, value: object) -> object:
        return parse_scales(value) if isinstance(value, str) else value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())

    @field_validator("api_keys")
    @classmethod
    def _hashed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_SHA256.fullmatch(key) for key in value):
            # The value is not repeated: it may well be a key in the clear.
            raise ValueError("each must be the SHA-256 of a key: 64 hexadecimal digits")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.max_in_flight < self.max_files:
            raise ValueError(
                f"{PREFIX}MAX_IN_FLIGHT ({self.max_in_flight}) is under {PREFIX}MAX_FILES ({self.max_files}): "
                "a request of as many files could never be taken"
            )
        if self.precision == "int8" and self.device != "cpu":
            raise ValueError(f"{PREFIX}PRECISION int8 runs on the CPU alone, and {PREFIX}DEVICE is {self.device}")
        if self.precision == "float16" and self.device != "cuda":
            raise ValueError(f"{PREFIX}PRECISION float16 runs on a GPU alone, and {PREFIX}DEVICE is {self.device}")
        if self.tensorrt and self.device != "cuda":
            raise ValueError(f"{PREFIX}TENSORRT runs on a GPU alone, and {PREFIX}DEVICE is {self.device}")
        if self.tensorrt_cache is not None and not self.tensorrt:
            raise ValueError(f"{PREFIX}TENSORRT_CACHE keeps what TensorRT builds, and {PREFIX}TENSORRT is false")
        if not (self.api_keys or self.allow_anonymous or _is_loopback(self.host)):
            raise ValueError(
                f"{PREFIX}HOST {self.host} is not loopback: set {PREFIX}API_KEYS, or {PREFIX}ALLOW_ANONYMOUS=true"
            )
        return self

    @property
    def max_body_bytes(self) -> int:
        """The cap of a request's body, in bytes."""
        return self.max_body_mb * 1_000_000

    @property
    def num_lanes(self) -> int:
        """Graphs that run at once, one intra-op thread each: so lanes times threads never exceed the usable cores.

        On a GPU, one: a second caller of the same device only adds to the first one's time.
        """
        if self.device == "cuda":
            return 1
        return min(self.lanes or usable_cores(), usable_cores())

    @property
    def num_decode_lanes(self) -> int:
        """Images decoded or aligned at once."""
        return self.decode_lanes or usable_cores()

    def accepts(self, key: str) -> bool:
        """Whether a presented key is one of the accepted ones; its time does not depend on which, nor on how near."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        return sum(hmac.compare_digest(digest, known) for known in self.api_keys) > 0  # `any` would stop at the first


def read_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Settings from the environment, with `overrides` (a command line's options) over them.

    Raises:
        StartupError: one line, for an unknown `MIEN_*` variable (with its nearest known name) or a value out of bounds.
    """
    for name in sorted(os.environ if environ is None else environ):
        if name.upper().startswith(PREFIX) and name[len(PREFIX) :].lower() not in Settings.model_fields:
            raise StartupError(f"unknown variable {name}{_nearest(name)}")
    try:
        # pydantic-settings reads the variables; a field given here wins over its variable.
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise StartupError(_one_line(error)) from None


def _nearest(name: str) -> str:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(str(step) for step in first["loc"])
    return f"{PREFIX}{where.upper()}: {message}" if where else message


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
