"""Tiny trainings: a recipe that takes a second on one thread, as a value and as a command line. Never trains itself."""

from pathlib import Path
from typing import Final

from model.training.overrides import override
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.recipes.registry import RECIPES

CHANGES: Final[dict[str, str]] = {
    "network.backbone.patch_px": "8",
    "network.backbone.embed_dim": "8",
    "network.backbone.depths": "1,2",
    "network.backbone.num_heads": "1,2",
    "network.backbone.stem_blocks": "1",
    "network.backbone.conv_depths": "0,1",
    "network.backbone.drop_path": "0.2",
    "network.fusion.widths": "4,4",
    "network.embedding_dim": "16",
    "network.fc_dim": "8",
    "network.dropout": "0.2",
    "network.num_age_ranks": "101",
    "rows.celeba": "3",
    "rows.utkface": "3",
    "rows.fer2013": "3",
    "total_steps": "14",
    "warmup_steps": "3",
    "save_every": "4",
    "log_every": "1",
    "num_threads": "1",
    "statistics_batches": "3",
    "device": "cpu",
}


def tiny_recipe(**changes: str) -> AnalyzerRecipe:
    """The tiny recipe, changed further."""
    return override(RECIPES["nano"](), {**CHANGES, **changes})


def command_line(data: Path, out: Path, *extra: str, **changes: str) -> list[str]:
    """Arguments of `mien-train` for the same training."""
    sets = [part for key, value in {**CHANGES, **changes}.items() for part in ("--set", f"{key}={value}")]
    return ["train", "nano", "--data", str(data), "--out", str(out), "--no-validate", *sets, *extra]
