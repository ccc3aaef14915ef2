"""Part: what every object of `pack.json` has in common.

Never holds a field of its own.
"""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """An object of the manifest: it never changes, and an unknown field in it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
