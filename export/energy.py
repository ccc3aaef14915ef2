"""Energy: what a training took of electricity and carbon, from its time and what is known or assumed of its machine.

Holds the assumptions and the arithmetic. Never reads a meter: nothing here was measured but the time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from export.errors import ExportError
from model.runtime.pack import TrainingRun

# A server processor's rated power by core (AMD EPYC 9005: 320 to 500 W for 64 to 192 cores) with memory and supply.
WATTS_A_CORE: Final = 10.0
WATTS_A_GPU: Final = 700.0  # the rated power of an H100 SXM; more than most trainings draw
GRID_G_PER_KWH: Final = 480.0  # the world's mean of 2023, grams of CO2 equivalents a kWh (Ember 2024)
_GPU: Final = re.compile(r"\b(gpu|cuda|nvidia|geforce|rtx|tesla|[ahlvb]\d{2,3})\b", re.IGNORECASE)
_CORES: Final = re.compile(r"\b(\d+|one|two|four|eight|sixteen)\s+(?:\w+\s+)?cores?\b", re.IGNORECASE)
_GPUS: Final = re.compile(r"\b(\d+)\s*(?:x\s|\w*\s*gpus\b)", re.IGNORECASE)
_WORDS: Final = {"one": 1, "two": 2, "four": 4, "eight": 8, "sixteen": 16}
_SECONDS_PER_KWH_AND_WATT: Final = 3.6e6
_PARTS: Final = ("analyzer", "detector")


@dataclass(frozen=True, slots=True)
class Power:
    """What a person states of the machines; what is not stated is assumed.

    Attributes:
        watts: by part (`analyzer`, `detector`), or under an empty name for every one that is not named.
        grid_g_per_kwh: of CO2 equivalents; None for the assumption.
    """

    watts: Mapping[str, float] = field(default_factory=dict)
    grid_g_per_kwh: float | None = None


def parse_watts(stated: tuple[str, ...]) -> dict[str, float]:
    """Reads `--watts`: `20`, or `analyzer=700`.

    Raises:
        ExportError: if one is neither.
    """
    found = {}
    for text in stated:
        part, _, number = text.rpartition("=")
        try:
            watts = float(number)
        except ValueError:
            watts = 0.0
        if not 0 < watts < 1e6 or part not in ("", *_PARTS):
            raise ExportError(
                f"--watts is a number of watts, or {' or '.join(f'{name}=WATTS' for name in _PARTS)}, not {text!r}"
            )
        found[part] = watts
    return found


def accounted(run: TrainingRun, power: Power) -> TrainingRun:
    """A training with its energy and carbon; as it is where neither its time nor a power is known.

    A power that is stated counts for every run of its part; else what the run states already; else an assumption by the
    kind of its machine, where its description tells one.
    """
    watts, basis = _watts(run, power)
    if run.seconds is None or watts is None:
        return run
    stated = power.grid_g_per_kwh or run.grid_g_per_kwh
    grid = stated or GRID_G_PER_KWH
    of_grid = "stated" if stated not in (None, GRID_G_PER_KWH) else "assumed, the world's mean of 2023"
    energy = run.seconds * watts / _SECONDS_PER_KWH_AND_WATT
    return run.model_copy(
        update={
            "watts": watts,
            "energy_kwh": energy,
            "grid_g_per_kwh": grid,
            "carbon_kg_co2e": energy * grid / 1000,
            "energy_basis": f"{run.part}: {watts:g} W {basis}; {grid:g} g/kWh {of_grid}",
        }
    )


def _watts(run: TrainingRun, power: Power) -> tuple[float | None, str]:
    stated = power.watts.get(run.part, power.watts.get(""))
    if stated is not None:
        return stated, "stated"
    if run.watts is not None:
        return run.watts, "stated" if " W stated" in (run.energy_basis or "") else "assumed"
    machine = run.machine or ""
    if _GPU.search(machine):
        number = _GPUS.search(machine)
        return WATTS_A_GPU * (int(number[1]) if number else 1), f"assumed, {WATTS_A_GPU:g} W a GPU"
    if cores := _CORES.search(machine):
        word = cores[1].lower()
        return WATTS_A_CORE * (_WORDS.get(word) or int(word)), f"assumed, {WATTS_A_CORE:g} W a core"
    return None, ""
