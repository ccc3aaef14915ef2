"""Twins: a pack as it is served where the quantised twins of its analyzers run in their place.

Holds what then holds of the pack: files, known answers, figures, embedding space, thresholds. Never reads a file and
never chooses between float and int8 (see `service.onnx_engine`).
"""

from collections.abc import Iterator

from model.runtime.pack import AnalyzerPart, Figure, Pack, PackError, TwinPart


def with_twins(pack: Pack) -> Pack:
    """The pack with every analyzer that has a twin replaced by it; the others compute as before.

    Its figures are the twins' own for the tasks that twins answer. Where a twin's embeddings lie in a space of their
    own, that space is the pack's, and thresholds that were calibrated on the float graph's embeddings are gone.

    Raises:
        PackError: if no analyzer has a twin, or a twin states no known answer to hold it to.
    """
    twins = [(part, part.int8) for part in pack.analyzers if part.int8 is not None]
    if not twins:
        raise PackError(f"pack {pack.name} has no int8 twin; `mien-export quantise` makes one, or serve it in float32")
    quantised = {task for part, _ in twins for task in part.tasks}
    figures = [figure for figure in pack.measured if figure.task not in quantised]
    space = next((twin.embedding_space for _, twin in twins if twin.embedding_space is not None), None)
    return pack.model_copy(
        update={
            "analyzers": tuple(twin_of(part) for part in pack.analyzers),
            "measured": (*(figure for _, twin in twins for figure in twin_figures(twin)), *figures),
            "embedding_space": space or pack.embedding_space,
            "verification": pack.verification if space is None else None,
        }
    )


def is_preferred(pack: Pack) -> bool:
    """Whether the manifest states that the pack is better served by its twins: each of them was measured to be."""
    twins = [part.int8 for part in pack.analyzers if part.int8 is not None]
    return bool(twins) and all(twin.preferred for twin in twins)


def twin_of(part: AnalyzerPart) -> AnalyzerPart:
    """An analyzer as its twin answers it; itself where it has none.

    Raises:
        PackError: if the twin states no known answer.
    """
    twin = part.int8
    if twin is None:
        return part
    if twin.known_answer is None:
        raise PackError(f"{twin.file}: the pack states no known answer of it, so it cannot be held to one")
    return part.model_copy(update={"file": twin.file, "sha256": twin.sha256, "known_answer": twin.known_answer})


def twin_figures(twin: TwinPart) -> Iterator[Figure]:
    """What was measured of a twin, as a pack states figures."""
    for row in twin.compared:
        yield Figure(
            task=row.task,
            metric=row.metric,
            value=row.int8,
            dataset=row.dataset,
            num_samples=row.num_samples,
            command=twin.command,
        )
