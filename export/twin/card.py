"""The card's section on a twin, int8 or float16: how it was made, how fast it is, what it lost.

Holds its wording. Every figure in it is read from `pack.json`. Never measures, and never judges.
"""

from collections.abc import Iterator

from model.runtime.pack import AnalyzerPart
from model.runtime.twin_part import Comparison, Twin, TwinPart


def twin_section(part: AnalyzerPart, twin: Twin) -> str:
    """What a card says of an analyzer's twin, as Markdown."""
    precision = "int8" if isinstance(twin, TwinPart) else "float16"
    lines = [f"## In {precision}: {twin.file}", "", *_about(part, twin)]
    if isinstance(twin, TwinPart) and twin.speed:
        on = "" if twin.machine is None else f" Measured on {twin.machine}."
        lines += [
            "",
            f"Times as fast as `{part.file}`, both in turns on one thread, by the thread's processor time.{on}",
            "",
            "| batch | least | middle | greatest |",
            "|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {row.batch_size} | {row.ratio_min:.2f} | {row.ratio_median:.2f} | {row.ratio_max:.2f} |"
            for row in twin.speed
        ]
    if twin.figures:
        lines += ["", f"| task | metric | set | float32 | {precision} | samples |", "|---|---|---|---:|---:|---:|"]
        lines += [_row(row) for row in twin.figures]
    if twin.command:
        lines += ["", f"Made by `{twin.command}`."]
    return "\n".join(lines)


def _about(part: AnalyzerPart, twin: Twin) -> Iterator[str]:
    how = f" ({twin.method})" if twin.method else ""
    what = "with int8 weights" if isinstance(twin, TwinPart) else "computing in half precision"
    yield f"`{twin.file}` is `{part.file}` {what}{how}. Its inputs and outputs are the same."
    if twin.cosine_mean is not None and twin.cosine_min is not None:
        space = (
            "so both may be compared with each other"
            if twin.embedding_space is None
            else f"too far to be compared with each other: its own embedding space is `{twin.embedding_space}`"
        )
        yield (
            f"Its embeddings of real crops have a mean cosine of {twin.cosine_mean:.4f} to the float graph's (least "
            f"{twin.cosine_min:.4f}), {space}."
        )
    elif twin.embedding_space is not None:
        yield (
            "How far its embeddings lie from the float graph's was not measured on real crops: its own embedding space "
            f"is `{twin.embedding_space}`."
        )
    yield _who_takes(twin)


def _who_takes(twin: Twin) -> str:
    if not isinstance(twin, TwinPart):
        return (
            "The service takes it only with `MIEN_PRECISION=float16`, on a GPU. Its speed was not measured: "
            "processors, on which packs are made, gain none by it."
        )
    if twin.preferred:
        return "The service takes it by default on a processor with integer dot products."
    return "The service takes it only with `MIEN_PRECISION=int8`: it was not measured to be better."


def _row(row: Comparison) -> str:
    one, other = (
        (f"{value:.2f} years" if row.metric.endswith("_years") else f"{100 * value:.2f} %")
        for value in (row.float32, row.of_twin)
    )
    return f"| {row.task} | {row.metric} | {row.dataset} | {one} | {other} | {row.num_samples:,} |"
