"""A pack's own network: opened from the checkpoint in the pack, to be compared with the graph beside it.

Never traces and never writes. Imports torch, so that `export.pack_check` need not.
"""

from pathlib import Path

from export.check import Predict
from export.folding import fold_norms
from export.graph import predict_with
from export.precision import embedding_space, rounded
from export.sources import read_stored
from model.analyzer import Analyzer
from model.runtime.labels import Task


def stored_twin(folder: Path) -> tuple[tuple[Task, ...], str, Predict]:
    """The tasks, the embedding space and the answers of the network in a checkpoint folder.

    Raises:
        ExportError: if the checkpoint cannot be used.
    """
    network, state = read_stored(folder)
    twin = Analyzer(rounded(fold_norms(network))).eval()  # as it was exported
    return twin.tasks, embedding_space(state), predict_with(twin)
