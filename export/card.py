"""The model card: `CARD.md`, what a pack is, for people.

Holds its wording and tables. Every figure in it is read from `pack.json`, so that a card can be made again from the
manifest and never says anything else. Never measures.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from export.twin.card import twin_section
from model.runtime.pack import Figure, Pack, TrainingRun

CARD: Final = "CARD.md"
ALL: Final = "all"
_MIN_GROUP: Final = 50  # samples; a gap to a smaller group is as likely chance
_WHAT: Final = {
    "embedding": "an embedding: faces of one person lie close to each other by cosine",
    "expression": "one of seven expressions, with probabilities",
    "age": "age in years",
    "gender": "gender as it is perceived, female or male",
    "attributes": "CelebA's forty attributes, each with a probability",
    "race": "one of UTKFace's five groups, with probabilities",
}
# One value a class or attribute: they stand in a table of their own, at the end.
_DETAILS: Final = ("recall_", "accuracy_", "balanced_accuracy_", "threshold_at_")
_NOT_DETAILS: Final = ("recall_at_", "accuracy_10fold", "accuracy_mean", "balanced_accuracy_mean")
_HIGHER_IS_WORSE: Final = ("mae", "bias", "fmr", "eer", "ece", "false_alarms", "fnmr")
_USE: Final = """\
It is meant for research, teaching and trying out software on photographs whose people agreed to it: grouping pictures
by person, comparing two photographs, statistics over many faces, and as a start for training on one's own data.

It must not be used to decide about a person: not for hiring, policing, credit, insurance, border control, surveillance,
or finding out who a stranger is. An expression is what a face shows on one photograph and not what its person feels.
Gender and race are what labellers saw, and not what anyone is. Many laws restrict biometric processing."""
# Of any face analyzer of this kind; what labels allow to be measured by group stands in the card's own table.
_LIMITS: Final = (
    "Children: a growing child's embeddings do not stay close, and sets of labelled faces hold few children. Do not "
    "rely on verification, age or expression of children.",
    "Grey images: colour tells age, hair and make-up; on grey photographs those answers rest on less.",
    "Extreme pose, masks, hands over the face, strong blur and faces under about 30 pixels: an answer is still given. "
    "The service states each face's size, sharpness and pose, so that such faces can be left out.",
    "Groups: error rates differ by gender, race and age. One threshold for everyone gives each group its own rate of "
    "false matches.",
    "A photograph of a photograph, a mask or a generated face is not told from a live one.",
)
# Of sets that this pack was trained, measured or calibrated on.
_LIMITS_OF_SETS: Final = {
    "fer2013": "FER2013's expression labels agree with people about two times in three, and its images are grey and 48 "
    "pixels wide: a figure on them says as much about the labels as about the pack.",
    "utkface": "UTKFace's labels of age, gender and race come from a network checked by people; ages pile up at 1, 26 "
    "and round numbers.",
    "celeba": "CelebA's people are celebrities, most of them adult and photographed in public; its attributes are "
    "labellers' opinions.",
    "lfw": "LFW's validation images are mostly grey and mostly of adult men: on other people and on colour photographs "
    "the calibrated thresholds give other rates.",
    "detection": "The detector learnt from another detector's boxes, not from people's: faces under about 10 pixels "
    "and in extreme pose may be missing there, and no photograph shows a crowd.",
}


def render(pack: Pack) -> str:
    """The card of a pack, as Markdown."""
    parts = (
        _head(pack),
        "## Use and misuse\n\n" + _USE,
        _license(pack),
        _origins(pack),
        _training(pack),
        _measured(pack),
        _twins(pack),
        _thresholds(pack),
        _groups(pack),
        _limits(pack),
        _details(pack),
        _reproduce(pack),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def shown(figure: Figure) -> str:
    """A figure's value as the card writes it: years to a hundredth, shares in per cent, plain numbers to 1e-4."""
    name = figure.metric
    if name.endswith("_years") and not name.startswith("within_"):
        return f"{figure.value:.2f} years"
    if name.startswith("fmr_at"):
        return f"{100 * figure.value:.3f} %"
    if (
        name.startswith(("threshold", "cosine", "ece", "false_alarms", "unmatched", "min_score"))
        or not 0 <= figure.value <= 1
    ):
        return f"{figure.value:.4f}"
    return f"{100 * figure.value:.1f} %"


def _head(pack: Pack) -> str:
    lines = [
        f"# {pack.name} {pack.version}",
        "",
        "What it answers for every face on a photograph, from one pass each:",
        "",
    ]
    lines += [f"- {_WHAT[task]}" for task in pack.tasks]
    for part in pack.analyzers:
        answers = f" and answers {_listed(part.tasks)}" if len(pack.analyzers) > 1 else ""
        lines += [
            "",
            f"`{part.file}` takes {part.side_px} x {part.side_px} crops ({part.alignment}){answers}; "
            f"opset {part.opset}.",
        ]
    detector = pack.detector
    lines += [
        "",
        f"`{detector.file}` finds the faces at {detector.input_width} x {detector.input_height}; "
        f"a face counts from a score of {detector.min_score:g}.",
    ]
    if pack.embedding_space is not None:
        lines += ["", f"Embedding space `{pack.embedding_space}`: embeddings compare within it only."]
    return "\n".join(lines)


def _license(pack: Pack) -> str:
    lines = ["## Licence and data", "", f"Licence: {pack.license}. {pack.allowed_use}", ""]
    if not pack.training_data:
        return "\n".join(
            [*lines, "The rows of the training sets are not stated: the pack was exported without the data."]
        )
    if any(part.origin is not None for part in pack.analyzers):
        lines += ["This table states what is recorded; of weights that were trained elsewhere nothing is.", ""]
    lines += ["| training set | rows | terms |", "|---|---:|---|"]
    lines += [f"| {entry.name} | {entry.num_rows:,} | {entry.terms} |" for entry in pack.training_data]
    return "\n".join(lines)


def _origins(pack: Pack) -> str:
    lines = [f"- `{part.file}`: {part.origin}" for part in pack.analyzers if part.origin is not None]
    return "## Whose weights these are\n\n" + "\n".join(lines) if lines else ""


def _training(pack: Pack) -> str:
    if not pack.training:
        return "## Training\n\nNo record of the training was beside the checkpoint, so none is stated."
    lines = [f"- {_run(run)}" for run in pack.training]
    told = {run.file for run in pack.training if run.part == "analyzer"}
    if None not in told and not told.issuperset(part.file for part in pack.analyzers):
        untold = [f"`{part.file}`" for part in pack.analyzers if part.file not in told]
        lines.append(f"- {_listed(untold)}: no record of the training lay beside the weights, so none is stated.")
    return "## Training\n\n" + "\n".join(lines)


def _run(run: TrainingRun) -> str:
    of_file = "" if run.file is None else f" `{run.file}`"
    text = f"{run.part}{of_file}: {run.num_steps:,} steps, {run.num_images:,} images drawn"
    if run.seconds is not None:
        text += f", {_duration(run.seconds)}"
    text += f", on {run.machine}" if run.machine else "; the machine is not recorded"
    return text + (f". Taught by {run.teacher}." if run.teacher else ".")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else f"{seconds:.0f} s"
    )


def _measured(pack: Pack) -> str:
    rows = [figure for figure in pack.measured if figure.group == ALL and not _is_detail(figure)]
    if not rows:
        return "## Measured\n\nNothing was measured: the pack was exported without a validation set."
    lines = [
        "## Measured",
        "",
        "On rows that were never trained on. Which command made a figure stands below the table.",
        "",
    ]
    lines += [*_table(rows), ""]
    return "\n".join(lines + [f"- [{number}] `{command}`" for number, command in enumerate(_commands(rows), 1)])


def _twins(pack: Pack) -> str:
    return "\n\n".join(twin_section(part, part.int8) for part in pack.analyzers if part.int8 is not None)


def _table(rows: Sequence[Figure]) -> Iterator[str]:
    commands = _commands(rows)
    yield "| task | metric | set | value | samples | command |"
    yield "|---|---|---|---:|---:|---|"
    for row in rows:
        number = commands.index(row.command) + 1
        cells = (row.task, row.metric, row.dataset, shown(row), f"{row.num_samples:,}", f"[{number}]")
        yield "| " + " | ".join(cells) + " |"


def _commands(rows: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(row.command for row in rows))


def _thresholds(pack: Pack) -> str:
    found = pack.verification
    if found is None:
        return (
            ""
            if "embedding" not in pack.tasks
            else ("## Verification thresholds\n\nNot calibrated: `mien-export calibrate PACK --data DIR` does it.")
        )
    lines = [
        "## Verification thresholds",
        "",
        f"Calibrated on {found.calibrated_on}: {found.num_images:,} images, {found.num_impostor_pairs:,} impostor and "
        f"{found.num_genuine_pairs:,} genuine pairs. A pair counts as one person from the threshold on.",
        "",
        "| false-match rate | threshold (cosine) | genuine pairs accepted |",
        "|---:|---:|---:|",
    ]
    lines += [f"| {row.fmr:g} | {row.threshold:.4f} | {100 * row.tar:.1f} % |" for row in found.thresholds]
    return "\n".join(lines)


def _groups(pack: Pack) -> str:
    rows = [figure for figure in pack.measured if figure.group != ALL]
    if not rows:
        return ""
    lines = ["## By group", ""]
    gaps = [gap for gap in (_gap(list(group)) for _, group in groupby(sorted(rows, key=_key), _key)) if gap]
    if gaps:
        lines += [f"The largest gap of each figure, between groups of {_MIN_GROUP} samples or more:", ""]
        lines += [f"- {gap}" for gap in gaps]
        lines.append("")
    lines += ["| task | metric | set | group | value | samples |", "|---|---|---|---|---:|---:|"]
    for row in rows:
        cells = (row.task, row.metric, row.dataset, row.group, shown(row), f"{row.num_samples:,}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _key(figure: Figure) -> tuple[str, str, str, str]:
    return figure.task, figure.metric, figure.dataset, figure.group.split("=")[0]


def _gap(rows: Sequence[Figure]) -> str | None:
    large = [row for row in rows if row.num_samples >= _MIN_GROUP]
    if len(large) < 2:
        return None
    ranked = sorted(large, key=lambda row: abs(row.value) if "bias" in row.metric else row.value)
    worst, best = (ranked[-1], ranked[0]) if _is_worse_when_higher(ranked[0]) else (ranked[0], ranked[-1])
    kind = worst.group.split("=")[0]
    return (
        f"{worst.task}, {worst.metric} on {worst.dataset} by {kind}: worst {worst.group} ({shown(worst)}), "
        f"best {best.group} ({shown(best)})"
    )


def _is_worse_when_higher(figure: Figure) -> bool:
    return figure.metric.startswith(_HIGHER_IS_WORSE)


def _limits(pack: Pack) -> str:
    sets = {entry.name for entry in pack.training_data} | {figure.dataset for figure in pack.measured}
    sets |= set(pack.verification.calibrated_on.lower().split()) if pack.verification else set()
    of_sets = (line for name, line in _LIMITS_OF_SETS.items() if name in sets)
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in (*_LIMITS, *of_sets))


def _details(pack: Pack) -> str:
    rows = [figure for figure in pack.measured if figure.group == ALL and _is_detail(figure)]
    if not rows:
        return ""
    lines = ["## Class by class", "", "| task | metric | set | value | samples |", "|---|---|---|---:|---:|"]
    lines += [f"| {row.task} | {row.metric} | {row.dataset} | {shown(row)} | {row.num_samples:,} |" for row in rows]
    return "\n".join(lines)


def _is_detail(figure: Figure) -> bool:
    return figure.metric.startswith(_DETAILS) and not figure.metric.startswith(_NOT_DETAILS)


def _reproduce(pack: Pack) -> str:
    lines = ["## How it was made, and how to make it again", ""]
    lines += [f"- {name}: {value}" for name, value in pack.exported_with.items()]
    if pack.checkpoints:
        parts = " and ".join(f"`{name}/`" for name in sorted({entry.file.split("/")[0] for entry in pack.checkpoints}))
        lines.append(f"- The weights as they were trained, matrices in half precision, lie in {parts}.")
    if any(entry.file.startswith("analyzer/") for entry in pack.checkpoints):
        lines += [
            "- Training goes on with `mien-train train nano --data DIR --init PACK/analyzer`.",
            "- `mien-export checkpoint PACK/analyzer --detector PACK --name NAME` makes a pack of the same answers.",
        ]
        lines.append(
            "- `mien-export check PACK` verifies hashes, graphs and known answers, and compares these weights."
        )
    else:
        lines.append("- `mien-export check PACK` verifies hashes, graphs and known answers.")
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
