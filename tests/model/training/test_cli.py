"""Tests of model.training.cli and model.training.command: what a person's mistakes answer."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from model.training.cli import main
from model.training.command import fitting
from model.training.recipes.registry import RECIPES
from tests.model.training.faces import write_sets
from tests.model.training.runs import command_line


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up sets in the true layout."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder, num_rows=6)
    return folder


def _line(arguments: list[str]) -> str:
    """The last line of what a command that must fail says."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


def test_help_names_the_options() -> None:
    """`train --help` shows examples and every option."""
    result = CliRunner().invoke(main, ["train", "--help"])
    assert result.exit_code == 0
    for text in ("--resume", "--init", "--set KEY=VALUE", "mien-train train nano --data ../shared/data"):
        assert text in result.output


def test_a_typo_is_refused(data: Path, tmp_path: Path) -> None:
    """A misspelt key is refused with its nearest name before any data is read."""
    line = _line(["train", "nano", "--data", str(data), "--out", str(tmp_path / "run"), "--set", "totl_steps=3"])
    assert line == "Error: the recipe has no 'totl_steps'; did you mean 'total_steps'?"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--data", "/absent/folder"], "Error: no data folder at /absent/folder"),
        (["--resume"], "nothing to resume"),
        (["--init", "/absent/checkpoint"], "no checkpoint at /absent/checkpoint"),
        (["--set", "seed"], "--set takes key=value, not 'seed'"),
        (["--resume", "--init", "x"], "--resume and --init exclude each other"),
        (["--set", "total_steps=many"], "total_steps cannot be 'many': int is needed"),
        (["--set", "network.backbone.num_heads=3,4"], "divisible"),
    ],
)
def test_a_mistake_is_one_clear_line(data: Path, tmp_path: Path, extra: list[str], message: str) -> None:
    """Each mistake is answered by one line that names it, and a failure."""
    assert message in _line(command_line(data, tmp_path / "run", *extra))


def test_a_run_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    """A folder that holds a training is refused unless it is resumed, and a finished one resumes to its end at once."""
    arguments = command_line(data, tmp_path, total_steps="1")
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert "holds a training already: --resume it" in _line(arguments)
    assert CliRunner().invoke(main, [*arguments, "--resume"]).exit_code == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["nano", "wide"])
def test_without_a_gpu_a_step_comes_in_parts(name: str) -> None:
    """The large batches of nano and wide are taken in sixteen parts where there is no GPU, unless a batch is stated."""
    recipe = RECIPES[name]()
    parts = fitting(name, recipe, {})
    assert parts.accumulation * sum(parts.rows.values()) == sum(recipe.rows.values()) == 1024
    assert fitting(name, recipe, {"rows.celeba": "8"}) is recipe
    assert fitting("ir-age", RECIPES["ir-age"](), {}) == RECIPES["ir-age"]()
