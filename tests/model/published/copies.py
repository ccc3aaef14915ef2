"""The project's own copies of the reference outputs: the first numbers of each array, made by the networks here.

Holds the writing and the reading of `copies.json`. `python -m tests.model.published.copies` makes the file again; do so
only while `test_parity` passes beside the references themselves, or the copies say nothing.
"""

import json
from pathlib import Path
from typing import Final

from tests.model.published.answers import REFERENCES, Arrays, answers_of

COPIES: Final = Path(__file__).with_name("copies.json")
NUM_NUMBERS: Final = 8  # of each row of an array
_DIGITS: Final = 6


def first_numbers(arrays: Arrays) -> dict[str, list[list[float]]]:
    """The first numbers of each row of each array."""
    rows = {name: array[:, :NUM_NUMBERS].tolist() for name, array in sorted(arrays.items())}
    return {name: [[round(number, _DIGITS) for number in row] for row in array] for name, array in rows.items()}


def stored() -> dict[str, dict[str, list[list[float]]]]:
    """The copies, by network and array."""
    copies: dict[str, dict[str, list[list[float]]]] = json.loads(COPIES.read_text())
    return copies


if __name__ == "__main__":
    lines = [f'"{name}": {json.dumps(first_numbers(answers_of(name)))}' for name in REFERENCES]
    COPIES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
