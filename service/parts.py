"""Parts: what every route stands on, as one value that the app carries.

Holds the wiring's result alone. Never made anywhere but in `service.app.create_app`.
"""

from dataclasses import dataclass

from starlette.requests import Request

from service.admission import Admission
from service.analyzer import Analyzer
from service.metrics import Metrics
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one app, and what really runs its graphs."""

    settings: Settings
    analyzer: Analyzer
    admission: Admission
    metrics: Metrics
    device: str


def parts_of(request: Request) -> Parts:
    """The parts of the app that a request came to."""
    parts = request.app.state.parts
    assert isinstance(parts, Parts), "create_app sets them"
    return parts
