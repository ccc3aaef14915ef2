"""Tests of the recipes and model.training.recipes.registry: each is there, and has the published numbers."""

import pytest
from click.testing import CliRunner

from model.config import (
    FAER_ATTRIBUTES,
    FAER_EXPRESSION,
    NANO,
    SWINFACE,
    TMLFA,
    WIDE,
    ConvNeXtConfig,
    IResNetConfig,
)
from model.training.cli import main
from model.training.recipes.names import NAMES
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.recipes.registry import RECIPES, expected, summary
from model.training.teacher import refuse_other_forms

MS1MV2 = 5_822_653


def test_every_name_is_a_recipe() -> None:
    """The names that the command line knows without torch are the registry's, in order."""
    assert tuple(RECIPES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_recipe_says_what_to_expect(name: str) -> None:
    """Every recipe builds, twice alike, and its own words hold a summary and the scores to expect."""
    assert RECIPES[name]() == RECIPES[name]()
    assert summary(name).endswith(".")
    assert expected(name)


def test_nano_and_its_teacher_differ_in_size_and_length_alone() -> None:
    """Nano trains the network that ships, which an empty recipe has too; wide answers the same in the same forms."""
    nano, wide = RECIPES["nano"](), RECIPES["wide"]()
    assert nano.network == AnalyzerRecipe().network == NANO
    assert wide.network == WIDE
    refuse_other_forms(wide.network, nano.network)
    assert (wide.losses, wide.rows, wide.augmentation) == (nano.losses, nano.rows, nano.augmentation)


def test_swinface_pretraining() -> None:
    """40 epochs of MS1MV2, 5 of them warm-up, 128 faces a GPU, AdamW at 5e-4 * rows / 512, CosFace 64 and 0.4."""
    recipe = RECIPES["swinface-pretrain"]()
    assert recipe.network.tasks == ("embedding",)
    assert recipe.network.backbone == SWINFACE.backbone
    plan = recipe.plan({"ms1mv2": MS1MV2}, world_size=8)
    assert plan.steps_per_epoch == MS1MV2 // 1024
    assert (plan.total_steps, plan.warmup_steps) == (40 * plan.steps_per_epoch, 5 * plan.steps_per_epoch)
    assert plan.peak == pytest.approx(1e-3)
    assert (recipe.optimizer.kind, recipe.optimizer.decay, recipe.weight_decay) == ("adamw", "all", 0.05)
    assert (recipe.margin.scale, recipe.margin.margins, recipe.margin.sample_rate) == (64.0, (1.0, 0.0, 0.4), 1.0)
    assert recipe.precision == "float16"


def test_swinface() -> None:
    """80,000 steps of 4 x 32 faces, backbone at a tenth and alone clipped at 5, rates scaled, every weight 1."""
    recipe = RECIPES["swinface"]()
    assert recipe.network == SWINFACE
    assert sum(recipe.rows.values()) == 128
    assert recipe.rows["adience"] / 32 == recipe.rows["morph"] / 32 == 0.25
    assert recipe.rows["imdbwiki"] / 32 == recipe.rows["rafdb"] / 32 == recipe.rows["affectnet"] / 32 == 0.5
    assert recipe.rows["ms1mv2"] == recipe.rows["celeba"] == 32
    assert recipe.keep == {"celeba": 0.5}
    plan = recipe.plan(dict.fromkeys(recipe.rows, 100_000), world_size=4)
    assert (plan.total_steps, plan.warmup_steps) == (80_000, 8_000)
    assert plan.peak == pytest.approx(5e-4)
    assert recipe.schedule.kind == "warm_cosine"
    assert plan.peak * recipe.schedule.warmup_share == pytest.approx(5e-7)
    assert plan.peak * recipe.final_share == pytest.approx(5e-6)
    assert recipe.optimizer.multipliers == {"backbone": 0.1, "recognition": 0.1}
    assert (recipe.optimizer.clip, recipe.max_grad_norm) == (("backbone", "recognition"), 5.0)
    assert (recipe.forms.age, recipe.margin.sample_rate) == ("annealed", 0.3)
    weights = recipe.losses
    assert (weights.margin, weights.age, weights.gender, weights.expression, weights.attributes) == (1, 1, 1, 1, 39)
    assert (weights.teacher, weights.relation, weights.race, weights.centre) == (0, 0, 0, 0)
    augmentation = recipe.augmentation
    assert (augmentation.kind, augmentation.policy) == ("randaugment", "rand-m9-mstd0.5-inc1")
    assert (augmentation.erasing, augmentation.flip, augmentation.flip_only) == (0.25, 0.5, ("ms1mv2",))
    assert (recipe.ema_decay, recipe.statistics_batches, recipe.precision) == (0.0, 0, "float16")


def test_tmlfa() -> None:
    """SwinFace's training on TMLFA's four sets."""
    recipe, swinface = RECIPES["tmlfa"](), RECIPES["swinface"]()
    assert recipe.network == TMLFA
    assert recipe.sets == ("ms-celeb-1m", "imdbwiki", "celeba", "rafdb")
    assert (recipe.optimizer, recipe.losses, recipe.schedule) == (
        swinface.optimizer,
        swinface.losses,
        swinface.schedule,
    )


@pytest.mark.parametrize(
    ("name", "network", "metric"),
    [
        ("faer-attributes", FAER_ATTRIBUTES, "attributes/accuracy_mean"),
        ("faer-expression", FAER_EXPRESSION, "expression/accuracy"),
    ],
)
def test_faer(name: str, network: object, metric: str) -> None:
    """30 epochs of 256 faces at 224 pixels, AdamW at 1e-3, the trunk at a hundredth, decay 0.01, flip alone."""
    recipe = RECIPES[name]()
    assert recipe.network == network
    assert isinstance(recipe.network.backbone, ConvNeXtConfig)
    assert recipe.network.backbone.side_px == 224
    assert [*recipe.rows.values()] == [256]
    assert (recipe.epochs, recipe.seed, recipe.learning_rate, recipe.final_share) == (30, 72, 1e-3, 1e-6)
    assert (recipe.schedule.kind, recipe.optimizer.kind, recipe.weight_decay) == ("epoch_cosine", "adamw", 0.01)
    assert recipe.optimizer.active_multipliers == {"backbone": 0.01}
    assert recipe.augmentation.kind == "flip"
    assert recipe.validation.metric == metric
    assert recipe.max_grad_norm == 0


def test_faers_losses() -> None:
    """Attributes by the summed focal loss; expressions by cross entropy and a centre loss."""
    attributes, expression = RECIPES["faer-attributes"](), RECIPES["faer-expression"]()
    assert (attributes.forms.attributes, attributes.forms.reduction) == ("focal", "sum")
    assert attributes.losses.attributes == 1
    assert expression.losses.expression == 1
    assert expression.losses.centre > 0


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("ir-age", "age/mae_years"),
        ("ir-gender", "gender/accuracy"),
        ("ir-race", "race/accuracy"),
        ("ir-recognition", "embedding/accuracy_10fold"),
    ],
)
def test_face_analysis(name: str, metric: str) -> None:
    """30 epochs of 384 faces, SGD 0.9 at 1e-3 by 10 at the 9th, 12th and 14th, decay 5e-4 on all but batch norm."""
    recipe = RECIPES[name]()
    assert isinstance(recipe.network.backbone, IResNetConfig)
    assert recipe.network.backbone.squeeze_excitation
    assert [*recipe.rows.values()] == [384]
    assert (recipe.epochs, recipe.learning_rate, recipe.weight_decay) == (30, 1e-3, 5e-4)
    assert (recipe.optimizer.kind, recipe.optimizer.momentum) == ("sgd", 0.9)
    assert recipe.optimizer.decay == "all_but_batch_norm"
    schedule = recipe.schedule
    assert (schedule.kind, schedule.milestones) == ("multistep", (9, 12, 14))
    assert (schedule.factor, schedule.patience) == (0.1, 3)
    validation = recipe.validation
    assert (validation.metric, validation.early_stop) == (metric, 5)
    assert validation.lower_is_better == (name == "ir-age")


def test_face_analysis_losses() -> None:
    """Age by ordinal regression, summed; gender and race by their inverse frequency; recognition by ArcFace."""
    assert (RECIPES["ir-age"]().forms.age, RECIPES["ir-age"]().forms.reduction) == ("ordinal", "sum")
    assert RECIPES["ir-gender"]().forms.classes == RECIPES["ir-race"]().forms.classes == "weighted"
    margin = RECIPES["ir-recognition"]().margin
    assert (margin.kind, margin.scale, margin.margins) == ("combined", 64.0, (1.0, 0.5, 0.0))


def test_the_command_lists_them() -> None:
    """`mien-train recipes` prints every recipe with what to expect; with a name, every key that --set takes."""
    listed = CliRunner().invoke(main, ["recipes"], env={"COLUMNS": "160"})
    assert listed.exit_code == 0
    for text in ("swinface-pretrain", "ir-recognition", "99.87", "80,000 steps"):
        assert text in listed.output
    shown = CliRunner().invoke(main, ["recipes", "swinface"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0
    for text in ("optimizer.multipliers.backbone", "rows.ms1mv2", "schedule.warmup_share", "CLAP2015 MAE 2.47"):
        assert text in shown.output


def test_an_unknown_recipe_is_refused() -> None:
    """A recipe that is not there is refused, and the known ones are named."""
    result = CliRunner().invoke(main, ["recipes", "swinfce"])
    assert result.exit_code != 0
    assert "swinface" in result.output
