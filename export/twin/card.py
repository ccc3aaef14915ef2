"""The card's section on an int8 twin: how it was made, how fast it is, what it lost.

Holds its wording. Every figure in it is read from `pack.json`. Never measures, and never judges.
"""

from collections.abc import Iterator

from model.runtime.pack import AnalyzerPart, TwinComparison, TwinPart


def twin_section(part: AnalyzerPart, twin: TwinPart) -> str:
    """What a card says of an analyzer's twin, as Markdown."""
    lines = [f"## In int8: {twin.file}", "", *_about(part, twin)]
    if twin.speed:
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
    if twin.compared:
        lines += ["", "| task | metric | set | float32 | int8 | samples |", "|---|---|---|---:|---:|---:|"]
        lines += [_row(row) for row in twin.compared]
    if twin.command:
        lines += ["", f"Made by `{twin.command}`."]
    return "\n".join(lines)


def _about(part: AnalyzerPart, twin: TwinPart) -> Iterator[str]:
    how = f" ({twin.method})" if twin.method else ""
    yield f"`{twin.file}` is `{part.file}` with int8 weights{how}. Its inputs and outputs are the same."
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
    yield (
        "The service takes it by default on a processor with integer dot products."
        if twin.preferred
        else "The service takes it only with `MIEN_PRECISION=int8`: it was not measured to be better."
    )


def _row(row: TwinComparison) -> str:
    one, other = (
        (f"{value:.2f} years" if row.metric.endswith("_years") else f"{100 * value:.2f} %")
        for value in (row.float32, row.int8)
    )
    return f"| {row.task} | {row.metric} | {row.dataset} | {one} | {other} | {row.num_samples:,} |"
