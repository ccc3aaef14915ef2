"""face_analysis_pytorch's recipes: an IR-SE ResNet for one task each. Never another system's.

Source: github.com/vitoralbiero/face_analysis_pytorch (MIT), read for its numbers. Another depth or trunk is a matter of
--set: IR-100 is network.backbone.units=3,13,30,3, plain IR network.backbone.squeeze_excitation=false.
"""

from dataclasses import replace
from typing import Literal

from model.config import iresnet
from model.training.augmentation import AugmentationConfig
from model.training.objective import LossForms, LossWeights, MarginConfig
from model.training.optimizer import OptimizerConfig
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.schedule import ScheduleConfig
from model.training.selection import ValidationConfig


def _recipe(task: Literal["embedding", "age", "gender", "race"], losses: LossWeights, metric: str) -> AnalyzerRecipe:
    return AnalyzerRecipe(
        network=iresnet(50, squeeze_excitation=True, task=task),
        rows={"utkface": 384},
        losses=losses,
        forms=LossForms(age="ordinal", classes="weighted"),
        augmentation=AugmentationConfig(kind="flip"),
        optimizer=OptimizerConfig(kind="sgd", momentum=0.9, decay="all_but_batch_norm"),
        schedule=ScheduleConfig(kind="multistep", milestones=(9, 12, 14), factor=0.1, patience=3),
        validation=ValidationConfig(metric=metric, per_epoch=5, early_stop=5),
        seed=0,
        epochs=30,
        total_steps=0,
        warmup_steps=0,
        learning_rate=1e-3,
        weight_decay=5e-4,
        max_grad_norm=0.0,
        ema_decay=0.0,
        statistics_batches=0,
        save_every=500,
    )


def ir_age() -> AnalyzerRecipe:
    """Age by ordinal regression over a hundred ranks on an IR-SE-50's normalised embedding.

    30 epochs of 384 faces; SGD with momentum 0.9 at 1e-3, divided by 10 at the 9th, 12th and 14th epoch
    (--set schedule.kind=plateau: where validation stands still for 3 epochs); weight decay 5e-4 on all but batch norm;
    binary cross entropy summed over batch and ranks; stopped after 5 epochs without a better MAE, the best kept.

    Expected: none is published.
    """
    return _recipe("age", _one(age=1.0), "age/mae_years")


def ir_gender() -> AnalyzerRecipe:
    """Gender from an IR-SE-50, classes weighted by their inverse frequency; else as `ir-age`, the best by accuracy.

    Expected: none is published.
    """
    return _recipe("gender", _one(gender=1.0), "gender/accuracy")


def ir_race() -> AnalyzerRecipe:
    """Race, five classes, from an IR-SE-50; else as `ir-gender`.

    Expected: none is published.
    """
    return _recipe("race", _one(race=1.0), "race/accuracy")


def ir_recognition() -> AnalyzerRecipe:
    """Recognition by an IR-SE-50 with ArcFace (64, 0.5); else as `ir-age`, the best by verification.

    CosFace is --set margin.margins=1,0,0.35, SphereFace --set margin.kind=sphereface --set margin.margins=1.35,0,0,
    AdaCos --set margin.kind=adacos --set margin.margins=1,0,0.

    Expected: none is published.
    """
    recipe = _recipe("embedding", _one(margin=1.0), "embedding/accuracy_10fold")
    return replace(recipe, rows={"ms1mv2": 384}, margin=MarginConfig(scale=64.0, margins=(1.0, 0.5, 0.0)))


def _one(margin: float = 0.0, age: float = 0.0, gender: float = 0.0, race: float = 0.0) -> LossWeights:
    return LossWeights(
        teacher=0.0, relation=0.0, margin=margin, age=age, gender=gender, race=race, expression=0.0, attributes=0.0
    )
