"""FAER's recipes: facial attributes, and expressions, by contextual channel attention. Never another system's.

The published schedule sets every group's learning rate alike and leaves the final norm in no group; here the trunk has
a hundredth of the rate and the norm is trained, as the code means. `--set optimizer.as_published=true` does what it
does.
"""

from dataclasses import replace

from model.config import FAER_ATTRIBUTES, FAER_EXPRESSION
from model.training.augmentation import AugmentationConfig
from model.training.objective import LossForms, LossWeights
from model.training.optimizer import OptimizerConfig
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.schedule import ScheduleConfig
from model.training.selection import ValidationConfig


def faer_attributes() -> AnalyzerRecipe:
    """FAER on CelebA's forty attributes, crops of 224 pixels.

    30 epochs of 256 faces; AdamW at 1e-3, the trunk at 1e-5, cosine by epoch down to a millionth; weight decay 0.01;
    focal loss (alpha 0.8, gamma 2), summed; a mirror image alone. The published training starts from ConvNeXt-Base's
    ImageNet weights: give their file by --init.

    Expected: CelebA 91.87.
    """
    return AnalyzerRecipe(
        network=FAER_ATTRIBUTES,
        rows={"celeba": 256},
        losses=LossWeights(teacher=0.0, relation=0.0, margin=0.0, attributes=1.0),
        forms=LossForms(attributes="focal"),
        augmentation=AugmentationConfig(kind="flip"),
        optimizer=OptimizerConfig(
            decay="all",
            multipliers={"backbone": 0.01},
            published_multipliers={"groups.norm": 0.0},
        ),
        schedule=ScheduleConfig(kind="epoch_cosine"),
        validation=ValidationConfig(metric="attributes/accuracy_mean"),
        seed=72,
        epochs=30,
        total_steps=0,
        warmup_steps=0,
        learning_rate=1e-3,
        final_share=1e-6,
        weight_decay=0.01,
        max_grad_norm=0.0,
        ema_decay=0.0,
        statistics_batches=0,
        save_every=500,
    )


def faer_expression() -> AnalyzerRecipe:
    """FAER on seven expressions: cross entropy and a centre loss on the pooled feature.

    As `faer-attributes` else. Label smoothing of 0.1 is there by --set forms.label_smoothing=0.1, AffectNet by
    --set rows=affectnet:256.

    Expected: RAF-DB 91.75, AffectNet 66.66.
    """
    return replace(
        faer_attributes(),
        network=FAER_EXPRESSION,
        rows={"rafdb": 256},
        losses=LossWeights(teacher=0.0, relation=0.0, margin=0.0, expression=1.0, centre=0.01),
        forms=LossForms(),
        validation=ValidationConfig(metric="expression/accuracy"),
    )
