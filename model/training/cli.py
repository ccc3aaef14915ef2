"""`mien-train`: the command group.

Holds the gathering of its commands. Never imports torch before a command runs, so that `--help` answers at once.
"""

import click

from model.training.evaluation.command import evaluate
from model.training.explain.command import explain
from model.training.prepare.command import prepare
from model.training.reproduce_cli import reproduce
from model.training.train_cli import recipes, train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Trains, evaluates and explains mien's networks.

    Needs the train extra: pip install 'mien[train]'
    """


main.add_command(prepare)
main.add_command(train)
main.add_command(recipes)
main.add_command(evaluate)
main.add_command(explain)
main.add_command(reproduce)
