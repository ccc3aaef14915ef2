"""A run: one report that grows part by part, kept in JSON after each, so that a run that is cut short is not lost.

Holds which servers a part needs and with which settings. Never measures anything itself, and never starts two opponents
at once.
"""

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from service.bench.contenders import Rival, running_rival, running_service
from service.bench.duels import Loaded, Opponent, RawLoop, duel
from service.bench.floor import running_floor
from service.bench.load import LoadError
from service.bench.machine import made
from service.bench.overload import overload
from service.bench.pipeline import Pipeline
from service.bench.requests import Request
from service.bench.results import Duel, Overload, Report, Steady
from service.bench.steady import steady
from service.onnx_engine import OnnxEngine

STEADY_SHARE: Final = 0.7
# 64 clients of /verify have 128 images under way: throughput is no matter of refusal.
_IN_FLIGHT: Final = {"MIEN_MAX_IN_FLIGHT": "256"}


@dataclass(frozen=True, slots=True)
class Turns:
    """What a duel measures: requests, numbers of clients, seconds of a turn."""

    requests: Sequence[Request]
    clients: Sequence[int]
    seconds: float


class Run:
    """One run of the bench.

    Args:
        report: what it adds to.
        pack: name or path of what is served.
        target: the report's JSON file.
        num_rounds: turns of both sides.
        arguments: of the command, for the report.
    """

    def __init__(self, report: Report, pack: str, target: Path, num_rounds: int, arguments: Sequence[str]) -> None:
        self.report, self._pack, self._target, self._num_rounds = report, pack, target, num_rounds
        self._made = made(arguments)
        self._console = Console(stderr=True, highlight=False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:  # a flood opens more connections at once than a shell's limit allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def raw(self, turns: Turns, engine: OnnxEngine) -> None:
        """Adds the duel with the raw loop."""
        self._duel(turns, RawLoop(Pipeline(engine)))

    def rival(self, turns: Turns, rival: Rival, folder: Path) -> None:
        """Adds the duel with a rival; or why there is none."""
        why = _missing(rival, folder)
        if why is None:
            try:
                with running_rival(rival, folder, self._pack, turns.requests[0]) as contender:
                    self._duel(turns, Loaded(contender))
            except LoadError as error:
                why = str(error)
        left_out = {name: reason for name, reason in self.report.left_out.items() if name != rival.name}
        if why is not None:
            self._tell(f"{rival.name} is left out: {why}")
            left_out[rival.name] = why
        self._add(left_out=left_out)

    def steady(self, requests: Sequence[Request], seconds: float) -> None:
        """Adds latencies under steady load."""
        with running_service(self._pack) as service:
            rows = steady(service, requests, STEADY_SHARE, self._num_rounds, seconds, self._tell)
        self._add(
            steady=Steady(made=self._made, share=STEADY_SHARE, num_rounds=self._num_rounds, seconds=seconds, rows=rows)
        )

    def overload(self, request: Request, steps: Sequence[float], seconds: float, deadline_ms: int) -> None:
        """Adds what an overload does to a service with default settings."""
        with running_service(self._pack) as service, running_floor() as floor_port:
            unloaded_ms, rows = overload(service, floor_port, request, steps, seconds, deadline_ms, self._tell)
        self._add(
            overload=Overload(
                made=self._made,
                request=request.name,
                deadline_ms=deadline_ms,
                seconds=seconds,
                unloaded_p50_ms=unloaded_ms,
                rows=rows,
            )
        )

    def _duel(self, turns: Turns, opponent: Opponent) -> None:
        pairs = [(request, num_clients) for request in turns.requests for num_clients in turns.clients]
        with running_service(self._pack, _IN_FLIGHT) as contender:
            rows = duel(Loaded(contender), opponent, pairs, self._num_rounds, turns.seconds, self._tell)
        made = Duel(
            made=self._made, opponent=opponent.name, num_rounds=self._num_rounds, seconds=turns.seconds, rows=rows
        )
        self._add(duels={**self.report.duels, opponent.name: made})

    def _add(self, **parts: object) -> None:
        self.report = self.report.model_copy(update=parts)
        partial = self._target.with_name(self._target.name + ".part")
        partial.write_text(self.report.model_dump_json(indent=1), encoding="utf-8")
        partial.replace(self._target)

    def _tell(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def _missing(rival: Rival, folder: Path) -> str | None:
    if not rival.is_installed:
        return f"{rival.package} is not installed (the extra bench has it)"
    if not (folder / rival.script).is_file():
        return f"{folder / rival.script} is not here: rivals' scripts come with the source, see --rivals-folder"
    return None
