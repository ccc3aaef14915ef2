"""Published files: what `torch.save` wrote elsewhere, read without running anything that is in it.

Holds the reading, and the words for what a file looks like where it is not what was asked for. Never unpickles an
object: tensors, numbers, texts and plain containers of them are all that is ever loaded. Never knows a network.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor

from export.errors import ExportError
from model.runtime.pack import sha256_of

Kind = Literal["swinface", "tmlfa", "pretraining", "faer", "trunk", "head", "margin", "other"]
_TITLES: Final[dict[Kind, str]] = {
    "swinface": "a SwinFace checkpoint",
    "tmlfa": "a TMLFA checkpoint",
    "pretraining": "a SwinFace backbone without its analysis subnets",
    "faer": "a FAER checkpoint",
    "trunk": "a trunk of face_analysis_pytorch",
    "head": "a head of face_analysis_pytorch",
    "margin": "a margin head of face_analysis_pytorch's recognition",
}
_ZIP: Final = b"PK\x03\x04"  # torch's form since 1.6
_PICKLE: Final = b"\x80"  # the one before
# Beginnings of what people mistake for a checkpoint, most often a download that did not go as it should.
_BEGINNINGS: Final = (
    (b"<", "a web page"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8", "a picture"),
    (b"\x08", "an ONNX graph"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_SUBNETS: Final = ("state_dict_fam", "state_dict_tss", "state_dict_om")
_HEAD_KEYS: Final = {"fc1.weight", "fc1.bias"}
_OPTIMIZER_KEYS: Final = {"state", "param_groups"}


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that was read.

    Attributes:
        path: where it lies.
        content: what it holds; tensors of a file in torch's newer form are read from the disk when they are used.
        kind: which system's it is, by its keys.
    """

    path: Path
    content: object
    kind: Kind

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.name

    @property
    def looks_like(self) -> str:
        """What it looks like, in words."""
        return _TITLES.get(self.kind) or _describe(self.content)

    @property
    def source(self) -> str:
        """The file's name and SHA-256, for a manifest."""
        return f"{self.name} (SHA-256 {sha256_of(self.path)})"

    def part(self, key: str) -> dict[str, Tensor]:
        """A state dict inside the file.

        Raises:
            ExportError: if it is missing, or holds something else than tensors under names.
        """
        content = self.content.get(key) if isinstance(self.content, Mapping) else None
        if content is None:
            raise ExportError(f"{self.name}: {key} is missing")
        return _tensors(content, f"{self.name}: {key}")

    def whole(self) -> dict[str, Tensor]:
        """The file as one state dict.

        Raises:
            ExportError: if it holds something else than tensors under names.
        """
        return _tensors(self.content, self.name)


def read_published(path: Path) -> PublishedFile:
    """Reads a file that `torch.save` wrote, with torch's own allow-list of plain types.

    Raises:
        ExportError: if it is missing, cut off, no checkpoint, or holds more than plain types; one line each.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(64)
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}") from error
    _require_checkpoint(path, beginning)
    in_newer_form = beginning.startswith(_ZIP)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: what cannot be read is refused below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=in_newer_form)
    except pickle.UnpicklingError as error:
        raise ExportError(f"{path}: {_refusal(str(error))}") from error
    except (EOFError, OSError, RuntimeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ExportError(f"{path} is cut off or damaged: torch cannot read it") from error
    return PublishedFile(path, content, kind_of(content))


def kind_of(content: object) -> Kind:
    """Which system's checkpoint a content is, by its keys alone."""
    if not isinstance(content, Mapping):
        return "other"
    if "state_dict_backbone" in content:
        return _kind_of_multi_task(content)
    inner = content.get("state_dict", content)
    keys = {str(key).removeprefix("module.") for key in inner} if isinstance(inner, Mapping) else set()
    if _has(keys, "downsample_layers.") and _has(keys, "attention."):
        return "faer"
    if _has(keys, "input_layer.") and _has(keys, "body."):
        return "trunk"
    if keys == _HEAD_KEYS:
        return "head"
    return "margin" if keys == {"kernel"} else "other"


def _kind_of_multi_task(content: Mapping[object, object]) -> Kind:
    if not any(part in content for part in _SUBNETS):
        return "pretraining"
    output_layers = content.get("state_dict_om")
    is_tmlfa = isinstance(output_layers, Mapping) and any("result_fcs." in str(key) for key in output_layers)
    return "tmlfa" if is_tmlfa else "swinface"


def _has(keys: set[str], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in keys)


def _require_checkpoint(path: Path, beginning: bytes) -> None:
    if not beginning:
        raise ExportError(f"{path} is empty")
    if beginning.startswith(_ZIP):
        if not zipfile.is_zipfile(path):
            raise ExportError(f"{path} is cut off: its end, where the list of its contents stands, is missing")
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                raise ExportError(f"{path} is no checkpoint: it looks like a ZIP archive; unpack it first")
        return
    if beginning[8:9] == b"{" and b'"' in beginning:
        raise ExportError(f"{path} is no checkpoint that torch.save wrote: it looks like a safetensors file")
    for start, what in _BEGINNINGS:
        if beginning.lstrip().startswith(start):
            raise ExportError(f"{path} is no checkpoint: it looks like {what}")
    if not beginning.startswith(_PICKLE):
        raise ExportError(f"{path} is no checkpoint: it does not begin as any file that torch.save wrote")


def _refusal(message: str) -> str:
    """What torch's reader refused, as one line: a class by its name where it tells one."""
    found = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"class (?:of )?[`'\"]?([\w.]+\.[\w.]+)", message)
    if found is not None:
        return (
            f"holds a pickled object, {found[1]}, and loading that could run code; "
            "save its state dict alone by torch.save and import that"
        )
    return "is no checkpoint, or is cut off: torch reads no plain tensors out of it"


def _describe(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a pickled {type(content).__name__}"
    keys = [str(key) for key in content]
    if set(keys) >= _OPTIMIZER_KEYS:
        return "an optimizer's state"
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return f"a state dict of {len(keys)} tensors, the first named {keys[0]}"
    return f"a dict of {', '.join(keys[:5]) or 'nothing'}{', ...' if len(keys) > 5 else ''}"


def _tensors(content: object, where: str) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise ExportError(f"{where} is no state dict but {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ExportError(f"{where}: {key} is no tensor")
    return dict(content)
