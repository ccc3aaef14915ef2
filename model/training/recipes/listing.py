"""The recipes, shown: all of them as a table, or one of them whole. Never trains."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from model.training.recipes.recipe import AnalyzerRecipe, as_stored
from model.training.recipes.registry import RECIPES, document, expected, summary


def list_recipes() -> None:
    """Prints every recipe: what it is for, how it trains, what to expect."""
    table = Table("recipe", "trains", "how", "expected", show_lines=True)
    for name, recipe in RECIPES.items():
        table.add_row(name, summary(name), _terms(recipe()), expected(name))
    _console().print(table)
    _console().print("mien-train recipes NAME shows one whole.", highlight=False)


def show_recipe(name: str) -> None:
    """Prints a recipe's description and every key that --set takes, with its value."""
    console = _console()
    for paragraph in document(name).split("\n\n"):
        console.print(" ".join(paragraph.split()), highlight=False)
    table = Table("key", "value")
    for key, value in _flat(as_stored(RECIPES[name]())):
        table.add_row(key, value)
    console.print(table)


def _console() -> Console:
    return Console(soft_wrap=False)


def _terms(recipe: AnalyzerRecipe) -> str:
    """The hyper-parameters that people ask for first."""
    rows = ", ".join(f"{recipe.rows[name]} {name}" for name in recipe.sets)
    length = f"{recipe.total_steps:,} steps" if recipe.total_steps else f"{recipe.epochs} epochs"
    warmup = f"{recipe.warmup_steps:,} steps" if recipe.warmup_steps else f"{recipe.warmup_epochs} epochs"
    rate = f"{recipe.learning_rate:g}" + (
        f" x rows / {recipe.optimizer.rate_batch}" if recipe.optimizer.rate_batch else ""
    )
    parts = [
        f"rows: {rows}",
        f"{length}, warm-up {warmup}",
        f"{recipe.optimizer.kind}, rate {rate}, {recipe.schedule.kind}, decay {recipe.weight_decay:g}",
        f"augmentation: {recipe.augmentation.kind}; {recipe.precision}",
    ]
    return "\n".join(parts)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ",".join(str(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)
