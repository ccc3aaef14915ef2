"""Nano's recipes: the network that ships, its training on, and the wide one that it learns from. Never another's."""

from dataclasses import replace
from typing import Final

from model.config import WIDE
from model.training.augmentation import AugmentationConfig
from model.training.mixing_config import MixingConfig
from model.training.objective import LossForms, LossWeights
from model.training.recipes.recipe import AnalyzerRecipe

_PARTS: Final = 16


def nano() -> AnalyzerRecipe:
    """The face analyzer that ships: every task in one pass, small enough for a processor core.

    Distils a recognition network's embeddings beside the labels of CelebA, UTKFace and FER2013, and with `--distil` the
    answers of `wide` on every image, so that each set's faces teach the other sets' tasks.

    Expected: on the validation split of the sets that it was trained on: LFW 95.9 %, CelebA pairs 95.7 %, age MAE 4.5
    years, gender 93.4 %, race 86.6 %, expression 71.9 %, attributes 89.9 %; in six minutes of an H200.
    """
    return AnalyzerRecipe(
        rows={"celeba": 416, "utkface": 272, "fer2013": 336},
        losses=LossWeights(
            teacher=10.0,
            relation=60.0,
            margin=0.03,
            age=1.0,
            gender=1.0,
            race=0.7,
            expression=2.0,
            attributes=6.0,
            distilled=1.0,
            distilled_embedding=4.0,
        ),
        forms=LossForms(age="distribution", label_smoothing=0.1),
        augmentation=AugmentationConfig(
            rotation_degrees=8.0,
            scale=0.08,
            shift=0.04,
            grey=0.35,
            brightness=0.2,
            contrast=0.3,
            tint=0.1,
            low_resolution=0.15,
            min_resolution_px=20,
            blur=0.15,
            blur_passes=8,
            jpeg=0.2,
            noise=0.1,
            erase=0.25,
        ),
        mixing=MixingConfig(kind="mixup", alpha=0.4, probability=0.3),
        total_steps=3799,
        warmup_steps=300,
        learning_rate=2e-3,
        final_share=0.005,
        ema_decay=0.9995,
        precision="bfloat16",
        num_workers=1,
        save_every=1000,
        log_every=50,
    )


def nano_continued() -> AnalyzerRecipe:
    """Nano trained on, with `--init` and `--distil` naming nano's own average: for verification, which wants steps.

    The recognition teacher counts for more, the labels' losses for less; what nano answered holds the other tasks where
    they were, on every image. Steps are smaller, and recorded and replayed on a GPU. At its end the embedding is
    carried to the teacher's space.

    Expected: on the validation split of the sets that it was trained on: LFW 96.9 %, CelebA pairs 96.6 %, age MAE 4.7
    years, gender 93.9 %, race 86.9 %, expression 71.3 %, attributes 89.9 %; in eleven minutes of an H200 that another
    training shared.
    """
    start = nano()
    return replace(
        start,
        rows={"celeba": 288, "utkface": 144, "fer2013": 80},
        losses=replace(
            start.losses,
            teacher=20.0,
            relation=100.0,
            age=0.5,
            gender=0.5,
            race=0.35,
            expression=1.0,
            attributes=3.0,
            distilled=2.0,
            distilled_embedding=0.0,
        ),
        forms=replace(start.forms, balance=0.5),
        augmentation=replace(start.augmentation, grey=0.4),
        mixing=MixingConfig(kind="mixup", alpha=0.5, probability=0.4),
        teacher_space=True,
        seed=21,
        total_steps=10774,
        learning_rate=1.5e-3,
        ema_decay=0.9998,
        capture=True,
        save_every=4000,
        log_every=100,
    )


def wide() -> AnalyzerRecipe:
    """Nano at twice the width and four times the work: what nano distils, and a network for those who have a GPU.

    Expected: as nano, whose teacher it is: LFW 95.7 %, CelebA pairs 95.4 %, age MAE 4.4 years, gender 93.2 %, race
    86.7 %, expression 70.6 %, attributes 89.9 %; in three and a half minutes of an H200.
    """
    return replace(nano(), network=WIDE, total_steps=1473, learning_rate=1.5e-3, ema_decay=0.999)


def in_parts(recipe: AnalyzerRecipe) -> AnalyzerRecipe:
    """One of these recipes with a step's faces in sixteen parts, for a machine without a GPU's memory.

    A step sees as many faces; batch norms and the relations between faces are those of a part. On a processor
    torch.compile takes longer than it saves.
    """
    rows = {name: count // _PARTS for name, count in recipe.rows.items()}
    return replace(recipe, rows=rows, accumulation=_PARTS, compile=False)
