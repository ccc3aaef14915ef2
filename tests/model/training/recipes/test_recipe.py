"""Tests of model.training.recipes.recipe."""

from dataclasses import replace

import pytest

from model.training.objective import LossForms, MarginConfig
from model.training.optimizer import OptimizerConfig
from model.training.recipes.recipe import AnalyzerRecipe, as_stored, completed


def test_epochs_become_steps_by_the_slowest_set() -> None:
    """An epoch is one pass over the set that is walked through last, less its last short batch."""
    recipe = AnalyzerRecipe(rows={"a": 10, "b": 4, "c": 0}, total_steps=0, epochs=3, warmup_steps=0, warmup_epochs=1)
    plan = recipe.plan({"a": 105, "b": 99, "c": 1000})
    assert (plan.steps_per_epoch, plan.total_steps, plan.warmup_steps) == (24, 72, 24)
    assert recipe.plan({"a": 105, "b": 99}, world_size=2).steps_per_epoch == 12
    assert replace(recipe, accumulation=3).plan({"a": 105, "b": 99}).steps_per_epoch == 8
    assert replace(recipe, keep={"b": 0.5}).plan({"a": 105, "b": 99}).steps_per_epoch == 12


def test_steps_count_before_epochs() -> None:
    """Where both are over 0, the steps decide."""
    recipe = AnalyzerRecipe(rows={"a": 10}, total_steps=7, epochs=3, warmup_steps=2, warmup_epochs=1)
    assert (recipe.plan({"a": 100}).total_steps, recipe.plan({"a": 100}).warmup_steps) == (7, 2)


def test_the_peak_scales_with_a_steps_rows() -> None:
    """With `rate_batch`, twice the processes or batches have twice the rate; without it, the same."""
    scaled = AnalyzerRecipe(rows={"a": 64}, learning_rate=0.1, optimizer=OptimizerConfig(rate_batch=512))
    assert scaled.plan({"a": 1000}).peak == pytest.approx(0.1 / 8)
    assert scaled.plan({"a": 1000}, world_size=4).peak == pytest.approx(0.1 / 2)
    assert replace(scaled, accumulation=2).plan({"a": 1000}).peak == pytest.approx(0.1 / 4)
    assert AnalyzerRecipe(learning_rate=0.1).plan(dict.fromkeys(("celeba", "utkface", "fer2013"), 99), 4).peak == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"a": 0}}, "rows must name a set"),
        ({"total_steps": 0}, "either total_steps or epochs"),
        ({"accumulation": 0}, "accumulation must be 1"),
        ({"forms": LossForms(age="ordinal")}, "forms.age=ordinal does not fit network.age_form=distribution"),
        (
            {"forms": LossForms(age="distribution", attributes="focal")},
            "forms.attributes=focal does not fit network.attribute_form=pairs",
        ),
        ({"margin": MarginConfig(kind="sphereface")}, r"margin: SphereFace's margins are \(m, 0, 0\)"),
        ({"margin": MarginConfig(sample_rate=2.0)}, "margin: sample_rate is above 0 to 1, not 2.0"),
        ({"margin": MarginConfig(margins=(-1.0, 0.0, 0.0))}, "margin: "),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    """No rows, no end, a loss for another form of answer, a margin that is none: one clear line each."""
    with pytest.raises(ValueError, match=message):
        replace(AnalyzerRecipe(), **changes)  # type: ignore[arg-type]


def test_an_older_runs_recipe_is_todays() -> None:
    """A recipe that was stored before the newer fields were there reads as today's with their defaults."""
    stored = as_stored(AnalyzerRecipe())
    old = {
        name: stored[name] for name in ("network", "rows", "losses", "margin", "augmentation", "seed", "total_steps")
    }
    del old["network"]["backbone"]["kind"]
    del old["losses"]["centre"]
    del old["augmentation"]["kind"]
    for name, precision in ((True, "bfloat16"), (False, "float32")):
        assert completed({**old, "bfloat16": name}) == as_stored(AnalyzerRecipe(precision=precision))  # type: ignore[arg-type]
