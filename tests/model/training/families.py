"""Every recipe at a size that takes a second on one thread, and small sets to train and validate it on. Never real."""

import csv
from pathlib import Path
from typing import Final

from model.training.overrides import override
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.recipes.registry import RECIPES
from tests.model.training.faces import write_sets

_SWIN: Final = {
    "network.backbone.patch_px": "8",
    "network.backbone.embed_dim": "8",
    "network.backbone.depths": "1,2",
    "network.backbone.num_heads": "1,2",
    "network.embedding_dim": "16",
}
_FUSION: Final = {"network.fusion.widths": "4,4", "network.fc_dim": "8"}
_CONVNEXT: Final = {
    "network.backbone.side_px": "32",
    "network.backbone.depths": "1,1",
    "network.backbone.dims": "8,16",
}
_IR: Final = {
    "network.backbone.units": "1,1,1,1",
    "network.backbone.widths": "8,8,8,16",
    "network.embedding_dim": "16",
}
_MIXTURE: Final = {"rows": "celeba:4,utkface:4,fer2013:4", "augmentation.flip_only": "celeba"}
_NANO: Final = {
    **_SWIN,
    **_FUSION,
    "network.backbone.stem_blocks": "1",
    "network.backbone.conv_depths": "0,1",
    "rows": "celeba:3,utkface:3,fer2013:3",
    "statistics_batches": "2",
}
CHANGES: Final[dict[str, dict[str, str]]] = {
    "nano": _NANO,
    "nano-continued": _NANO,
    "wide": _NANO,
    "swinface-pretrain": {**_SWIN, "rows": "celeba:4"},
    "swinface": {**_SWIN, **_FUSION, **_MIXTURE, "learning_rate": "0.05"},
    "tmlfa": {**_SWIN, **_FUSION, **_MIXTURE},
    "faer-attributes": {**_CONVNEXT, "rows": "celeba:4"},
    "faer-expression": {**_CONVNEXT, "rows": "fer2013:4"},
    "ir-age": {**_IR, "rows": "utkface:4"},
    "ir-gender": {**_IR, "rows": "utkface:4"},
    "ir-race": {**_IR, "rows": "utkface:4"},
    "ir-recognition": {**_IR, "rows": "celeba:4"},
}
SHORT: Final = {"total_steps": "4", "log_every": "1", "save_every": "2", "num_threads": "1", "device": "cpu"}


def small(name: str, **changes: str) -> AnalyzerRecipe:
    """A recipe at its small size, four steps long, changed further."""
    return override(RECIPES[name](), {**SHORT, **CHANGES[name], **changes})


def assignments(name: str, **changes: str) -> list[str]:
    """The same as arguments of `mien-train`."""
    return [
        part for key, value in {**SHORT, **CHANGES[name], **changes}.items() for part in ("--set", f"{key}={value}")
    ]


def write_all(folder: Path, num_rows: int = 20) -> None:
    """The three training sets, the same again as validation sets, and pairs of celeba's, ten folds of both kinds."""
    write_sets(folder, num_rows)
    write_sets(folder / "other", num_rows, seed=1)
    for file in sorted((folder / "other").iterdir()):
        file.rename(folder / file.name.replace("train", "val"))
    (folder / "other").rmdir()
    with (folder / "celeba-val-pairs.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["fold", "name_a", "name_b", "same"])
        for fold in range(10):
            # Rows six apart are one person, neighbours are two.
            writer.writerow([fold, f"celeba-{fold}.jpg", f"celeba-{fold + 6}.jpg", 1])
            writer.writerow([fold, f"celeba-{fold}.jpg", f"celeba-{fold + 1}.jpg", 0])
