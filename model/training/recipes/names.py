"""The recipes' names, for a command line that answers before torch is imported. Never holds a number."""

from typing import Final

NAMES: Final = (
    "nano",
    "nano-continued",
    "wide",
    "swinface-pretrain",
    "swinface",
    "tmlfa",
    "faer-attributes",
    "faer-expression",
    "ir-age",
    "ir-gender",
    "ir-race",
    "ir-recognition",
)

# Whose steps are too large for a machine without a GPU, and are taken there in parts.
IN_PARTS: Final = ("nano", "nano-continued", "wide")
