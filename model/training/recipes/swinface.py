"""SwinFace's and TMLFA's recipes, as published. Never another system's.

Sources: arXiv 2308.11509 and github.com/lxq1000/SwinFace (MIT), read for its numbers.
"""

from dataclasses import replace
from typing import Final

from model.config import SWINFACE, TMLFA
from model.training.augmentation import AugmentationConfig
from model.training.objective import LossForms, LossWeights, MarginConfig
from model.training.optimizer import OptimizerConfig
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.schedule import ScheduleConfig

_NO_LOSS: Final = LossWeights(
    teacher=0.0, relation=0.0, margin=0.0, age=0.0, gender=0.0, race=0.0, expression=0.0, attributes=0.0
)
# Every learning rate is per 512 rows of a step: 5e-4 at the peak, 5e-7 at the warm-up's start, 5e-6 at the end.
_SCHEDULE: Final = ScheduleConfig(kind="warm_cosine", warmup_share=1e-3)
# The published backbone's own part holds the recognition subnet, too.
_BACKBONE: Final = ("backbone", "recognition")


def swinface_pretrain() -> AnalyzerRecipe:
    """SwinFace's backbone and recognition subnet alone, on MS1MV2's 85,742 identities.

    40 epochs, 5 of them warm-up; 128 faces a GPU; AdamW at 5e-4 * (a step's rows) / 512; CosFace margin (64, 0.4) over
    all identities; float16.

    Expected: none is published for this stage. Its weights start `swinface` by --init.
    """
    return AnalyzerRecipe(
        network=replace(SWINFACE, groups=()),
        rows={"ms1mv2": 128},
        losses=replace(_NO_LOSS, margin=1.0),
        margin=MarginConfig(scale=64.0, margins=(1.0, 0.0, 0.4), sample_rate=1.0),
        augmentation=AugmentationConfig(kind="flip"),
        optimizer=OptimizerConfig(decay="all", clip=_BACKBONE, rate_batch=512),
        schedule=_SCHEDULE,
        seed=2048,
        epochs=40,
        total_steps=0,
        warmup_epochs=5,
        warmup_steps=0,
        learning_rate=5e-4,
        final_share=1e-2,
        weight_decay=0.05,
        max_grad_norm=5.0,
        ema_decay=0.0,
        statistics_batches=0,
        precision="float16",
        save_every=2000,
    )


def swinface() -> AnalyzerRecipe:
    """SwinFace whole: recognition, age, gender, expression and forty attributes.

    80,000 steps, 8,000 of them warm-up; 128 faces a GPU: 32 each of recognition, age and gender (Adience and MORPH a
    quarter each, IMDB-WIKI the half), CelebA (a pass keeps half of its rows) and expression (RAF-DB and AffectNet).
    Backbone and recognition subnet at a tenth of the rate, and their gradient alone clipped at 5; Partial FC samples
    0.3; the annealed age loss; the sum of 42 losses of weight 1, the column `male` being gender's own. RandAugment and
    random erasing on the analysis sets, a mirror image alone on the recognition set.

    Expected: LFW 99.87, CFP-FP 98.60, AgeDB-30 98.15, CALFW 96.10, CPLFW 93.42, IJB-C 96.73 at 1e-4 and 94.93 at 1e-5;
    RAF-DB 90.97; CLAP2015 MAE 2.47, epsilon error 0.22; CelebA mean 91.32.
    """
    return replace(
        swinface_pretrain(),
        network=SWINFACE,
        rows={"ms1mv2": 32, "adience": 8, "morph": 8, "imdbwiki": 16, "celeba": 32, "rafdb": 16, "affectnet": 16},
        keep={"celeba": 0.5},
        # 39 attributes beside gender, each a cross entropy of weight 1; the loss is their mean.
        losses=replace(_NO_LOSS, margin=1.0, age=1.0, gender=1.0, expression=1.0, attributes=39.0),
        forms=LossForms(age="annealed"),
        margin=MarginConfig(scale=64.0, margins=(1.0, 0.0, 0.4), sample_rate=0.3),
        augmentation=AugmentationConfig(kind="randaugment", flip_only=("ms1mv2",)),
        optimizer=OptimizerConfig(
            decay="all", multipliers=dict.fromkeys(_BACKBONE, 0.1), clip=_BACKBONE, rate_batch=512
        ),
        epochs=0,
        total_steps=80_000,
        warmup_epochs=0,
        warmup_steps=8_000,
    )


def tmlfa() -> AnalyzerRecipe:
    """TMLFA: SwinFace's network by function, on MS-Celeb-1M, IMDB-WIKI, CelebA and RAF-DB.

    Its published training does not start, so what it leaves open is SwinFace's.

    Expected: none that its published code could be held to.
    """
    return replace(
        swinface(),
        network=TMLFA,
        rows={"ms-celeb-1m": 32, "imdbwiki": 32, "celeba": 32, "rafdb": 32},
        augmentation=AugmentationConfig(kind="randaugment", flip_only=("ms-celeb-1m",)),
    )
