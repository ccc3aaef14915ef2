"""The registry: every known recipe by its name, and what a person is told of one.

Another recipe is one function and one line here. Never trains.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Final

from model.training.recipes.faer import faer_attributes, faer_expression
from model.training.recipes.iresnet import ir_age, ir_gender, ir_race, ir_recognition
from model.training.recipes.nano import nano, nano_continued, wide
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.recipes.swinface import swinface, swinface_pretrain, tmlfa

RECIPES: Final[Mapping[str, Callable[[], AnalyzerRecipe]]] = {
    "nano": nano,
    "nano-continued": nano_continued,
    "wide": wide,
    "swinface-pretrain": swinface_pretrain,
    "swinface": swinface,
    "tmlfa": tmlfa,
    "faer-attributes": faer_attributes,
    "faer-expression": faer_expression,
    "ir-age": ir_age,
    "ir-gender": ir_gender,
    "ir-race": ir_race,
    "ir-recognition": ir_recognition,
}


def document(name: str) -> str:
    """All that a recipe's own words say of it."""
    return inspect.getdoc(RECIPES[name]) or ""


def summary(name: str) -> str:
    """What a recipe is for, in one sentence."""
    return " ".join(document(name).split("\n\n")[0].split())


def expected(name: str) -> str:
    """The scores to expect of a recipe, on one line."""
    return " ".join(document(name).split("Expected: ")[1].split())
