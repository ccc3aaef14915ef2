"""Twins: a pack as it is served where the twins of its analyzers, int8 or float16, run in their place.

Holds what then holds of the pack: files, known answers, figures, embedding space, thresholds. Never reads a file and
never chooses which graphs run (see `service.onnx_engine`).
"""

from collections.abc import Iterator

from model.runtime.pack import AnalyzerPart, Figure, Pack, PackError
from model.runtime.twin_part import MADE_BY, Twin, TwinPrecision


def with_twins(pack: Pack, precision: TwinPrecision = "int8") -> Pack:
    """The pack with every analyzer that has a twin in a precision replaced by it; the others compute as before.

    Its figures are the twins' own for the tasks that twins answer. Where a twin's embeddings lie in a space of their
    own, that space is the pack's, and thresholds that were calibrated on the float graph's embeddings are gone.

    Raises:
        PackError: if no analyzer has a twin, or a twin states no known answer to hold it to.
    """
    twins = [(part, part.twins[precision]) for part in pack.analyzers if precision in part.twins]
    if not twins:
        raise PackError(
            f"pack {pack.name} has no {precision} twin; `{MADE_BY[precision]}` makes one, or serve it in float32"
        )
    answered = {task for part, _ in twins for task in part.tasks}
    figures = [figure for figure in pack.measured if figure.task not in answered]
    space = next((twin.embedding_space for _, twin in twins if twin.embedding_space is not None), None)
    return pack.model_copy(
        update={
            "analyzers": tuple(twin_of(part, precision) for part in pack.analyzers),
            "measured": (*(figure for _, twin in twins for figure in twin_figures(twin)), *figures),
            "embedding_space": space or pack.embedding_space,
            "verification": pack.verification if space is None else None,
        }
    )


def is_preferred(pack: Pack) -> bool:
    """Whether the manifest states that the pack is better served by its int8 twins: each of them was measured to be."""
    twins = [part.int8 for part in pack.analyzers if part.int8 is not None]
    return bool(twins) and all(twin.preferred for twin in twins)


def twin_of(part: AnalyzerPart, precision: TwinPrecision = "int8") -> AnalyzerPart:
    """An analyzer as its twin in a precision answers it; itself where it has none.

    Raises:
        PackError: if the twin states no known answer.
    """
    twin = part.twins.get(precision)
    if twin is None:
        return part
    if twin.known_answer is None:
        raise PackError(f"{twin.file}: the pack states no known answer of it, so it cannot be held to one")
    return part.model_copy(update={"file": twin.file, "sha256": twin.sha256, "known_answer": twin.known_answer})


def twin_figures(twin: Twin) -> Iterator[Figure]:
    """What was measured of a twin, as a pack states figures."""
    for row in twin.figures:
        yield Figure(
            task=row.task,
            metric=row.metric,
            value=row.of_twin,
            dataset=row.dataset,
            num_samples=row.num_samples,
            command=twin.command,
        )
