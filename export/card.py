"""The model card: `CARD.md`, what a pack is, for people.

Holds its wording and tables. Every figure in it is read from `pack.json`, so that a card can be made again from the
manifest and never says anything else. Never measures.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from export.card_calibration import STAGED, probabilities, thresholds
from export.card_groups import by_group
from export.card_quality import quality_and_error, seen_and_unseen
from export.card_training import energy_of, training_run
from export.figures import ALL, interval, is_detail, pictured
from export.figures import shown as shown
from export.robustness_table import robustness_table
from export.twin.card import twin_section
from model.runtime.pack import Figure, Pack

CARD: Final = "CARD.md"
_WHAT: Final = {
    "embedding": "an embedding: faces of one person lie close to each other by cosine",
    "expression": "one of seven expressions, with probabilities",
    "age": "age in years",
    "gender": "gender as it is perceived, female or male",
    "attributes": "CelebA's forty attributes, each with a probability",
    "race": "one of UTKFace's five groups, with probabilities",
}
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
        probabilities(pack),
        thresholds(pack),
        robustness_table(pack),
        seen_and_unseen(pack),
        quality_and_error(pack),
        by_group(pack),
        _limits(pack),
        _details(pack),
        _reproduce(pack),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


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
    lines = [f"- {training_run(run)}" for run in pack.training]
    told = {run.file for run in pack.training if run.part == "analyzer"}
    if None not in told and not told.issuperset(part.file for part in pack.analyzers):
        untold = [f"`{part.file}`" for part in pack.analyzers if part.file not in told]
        lines.append(f"- {_listed(untold)}: no record of the training lay beside the weights, so none is stated.")
    lines += ["", energy_of(pack.training), *pictured(pack.pictures, "training-")]
    return "## Training\n\n" + "\n".join(lines)


def _measured(pack: Pack) -> str:
    rows = [
        figure
        for figure in pack.measured
        if figure.group == ALL and not is_detail(figure.metric) and figure.metric not in STAGED
    ]
    if not rows:
        return "## Measured\n\nNothing was measured: the pack was exported without a validation set."
    lines = [
        "## Measured",
        "",
        "On rows that were never trained on. Which command made a figure stands below the table.",
        "",
    ]
    lines += [*_table(rows), ""]
    lines += [f"- [{number}] `{command}`" for number, command in enumerate(_commands(rows), 1)]
    return "\n".join([*lines, *pictured(pack.pictures, "roc", "det", "confusion-", "attributes-")])


def _twins(pack: Pack) -> str:
    return "\n\n".join(twin_section(part, twin) for part in pack.analyzers for twin in part.twins.values())


def _table(rows: Sequence[Figure]) -> Iterator[str]:
    commands = _commands(rows)
    yield "| task | metric | set | value | 95 % interval | samples | command |"
    yield "|---|---|---|---:|---:|---:|---|"
    for row in rows:
        number = commands.index(row.command) + 1
        cells = (row.task, row.metric, row.dataset, shown(row), interval(row), f"{row.num_samples:,}", f"[{number}]")
        yield "| " + " | ".join(cells) + " |"


def _commands(rows: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(row.command for row in rows))


def _limits(pack: Pack) -> str:
    sets = {entry.name for entry in pack.training_data} | {figure.dataset for figure in pack.measured}
    sets |= set(pack.verification.calibrated_on.lower().split()) if pack.verification else set()
    of_sets = (line for name, line in _LIMITS_OF_SETS.items() if name in sets)
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in (*_LIMITS, *of_sets))


def _details(pack: Pack) -> str:
    rows = [figure for figure in pack.measured if figure.group == ALL and is_detail(figure.metric)]
    if not rows:
        return ""
    lines = ["## Class by class", "", "| task | metric | set | value | 95 % interval | samples |"]
    lines.append("|---|---|---|---:|---:|---:|")
    lines += [
        f"| {row.task} | {row.metric} | {row.dataset} | {shown(row)} | {interval(row)} | {row.num_samples:,} |"
        for row in rows
    ]
    return "\n".join(lines)


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
