"""The card's lines on trainings: what each was, how long it took, and what electricity and carbon that comes to.

Holds wording of what `pack.json` states. Never measures, and never assumes a number (see `export.energy`).
"""

from collections.abc import Sequence

from model.runtime.pack import TrainingRun


def training_run(run: TrainingRun) -> str:
    """One training in one line."""
    of_file = "" if run.file is None else f" `{run.file}`"
    earlier = "" if run.role is None else f", earlier training ({run.role})"
    text = f"{run.part}{of_file}{earlier}: {run.num_steps:,} steps, {run.num_images:,} images drawn"
    if run.seconds is not None:
        text += f", {_duration(run.seconds)}"
    text += f", on {run.machine}" if run.machine else "; the machine is not recorded"
    if run.energy_kwh is not None:
        text += f"; {run.energy_kwh:.2g} kWh"
        text += "" if run.carbon_kg_co2e is None else f", {_mass(run.carbon_kg_co2e)} of CO2e"
    return text + (f". Taught by {run.teacher}." if run.teacher else ".")


def energy_of(runs: Sequence[TrainingRun]) -> str:
    """What all trainings came to, and by which assumptions; what is not known is said to be so."""
    known = [run for run in runs if run.energy_kwh is not None]
    if not known:
        return "Energy and carbon: not stated, since neither the machine's power nor its kind is recorded."
    total = sum(run.energy_kwh or 0.0 for run in known)
    carbon = sum(run.carbon_kg_co2e or 0.0 for run in known)
    of_all = "" if len(known) == len(runs) else f", of {len(known)} of {len(runs)} trainings"
    bases = "; ".join(dict.fromkeys(run.energy_basis for run in known if run.energy_basis))
    return (
        f"Energy and carbon{of_all}: {total:.2g} kWh and {_mass(carbon)} of CO2e, which are power times time times the "
        f"carbon of the electricity ({bases}). Trials that came to nothing, preparing data, cooling, and making the "
        "machine are not in it."
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else f"{seconds:.0f} s"
    )


def _mass(kilograms: float) -> str:
    return f"{kilograms:.2g} kg" if kilograms >= 1 else f"{1000 * kilograms:.2g} g"
