"""The recipes' names, for a command line that answers before torch is imported. Never holds a number."""

from typing import Final

NAMES: Final = (
    "nano",
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
