"""Writing a pack: its checkpoints, its manifest and its card, with the files' hashes.

Never decides what a pack states, never opens a graph, and never puts a pack into its place (see `export.staging`).
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from export.card import CARD, render
from export.staging import write_whole
from model.checkpoint import CONFIG, WEIGHTS
from model.runtime.pack import MANIFEST, Pack, sha256_of
from model.runtime.part import PackFile


def pack_file(folder: Path, file: str) -> PackFile:
    """A file of a pack with its hash."""
    return PackFile(file=file, sha256=sha256_of(folder / file))


def write_checkpoint(folder: Path, part: str, state: Mapping[str, Tensor], config: str) -> tuple[PackFile, ...]:
    """Writes a checkpoint as the folder `part` of a pack, in the form that training and evaluation read.

    Args:
        folder: the pack's.
        part: name of the folder in it.
        state: tensors as they are to be stored.
        config: the text of `config.json`.
    """
    (folder / part).mkdir()
    save_file(dict(state), folder / part / WEIGHTS)
    (folder / part / WEIGHTS).chmod(0o644)  # safetensors makes it for its owner alone
    (folder / part / CONFIG).write_text(config.rstrip() + "\n")
    return pack_file(folder, f"{part}/{WEIGHTS}"), pack_file(folder, f"{part}/{CONFIG}")


def write_manifest(folder: Path, pack: Pack) -> None:
    """Writes `CARD.md` and `pack.json`, each beside the old one and renamed."""
    write_whole(folder / CARD, render(pack))
    write_whole(folder / MANIFEST, pack.model_dump_json(indent=1) + "\n")
