"""Energy and carbon of a training, from its time and what is stated or assumed."""

import pytest

from export.energy import GRID_G_PER_KWH, WATTS_A_GPU, Power, accounted, parse_watts
from export.errors import ExportError
from model.runtime.pack import TrainingRun


def _run(machine: str | None, seconds: float | None = 3600.0) -> TrainingRun:
    return TrainingRun(part="analyzer", num_steps=1, num_images=1, seconds=seconds, machine=machine)


def test_energy_is_power_times_time_and_carbon_energy_times_the_grid() -> None:
    """An hour at 250 W is a quarter of a kWh; at 400 g/kWh that is 100 g; both are said to be stated."""
    found = accounted(_run("a machine"), Power({"": 250.0}, 400.0))
    assert found.energy_kwh == pytest.approx(0.25)
    assert found.carbon_kg_co2e == pytest.approx(0.1)
    assert found.energy_basis == "analyzer: 250 W stated; 400 g/kWh stated"


@pytest.mark.parametrize(
    ("machine", "watts"),
    [
        ("2 cores of an AMD EPYC server CPU", 20.0),
        ("two cores", 20.0),
        ("one NVIDIA H100", WATTS_A_GPU),
        ("4 GPUs (A100)", 4 * WATTS_A_GPU),
        ("a machine", None),
        (None, None),
    ],
)
def test_what_is_not_stated_is_assumed_by_the_kind_of_machine_or_left_out(
    machine: str | None, watts: float | None
) -> None:
    """Cores and GPUs have a power that is said to be assumed; a machine of no known kind has none."""
    found = accounted(_run(machine), Power())
    assert found.watts == watts
    assert (found.carbon_kg_co2e is None) == (watts is None)
    if watts is not None:
        assert "assumed" in (found.energy_basis or "")
        assert found.grid_g_per_kwh == GRID_G_PER_KWH


def test_a_training_of_unknown_length_has_no_energy() -> None:
    """No time, no figure, whatever the power."""
    assert accounted(_run("two cores", None), Power({"": 100.0})).energy_kwh is None


def test_accounting_again_keeps_what_was_stated() -> None:
    """A card that is made anew without options says the same again."""
    once = accounted(_run("two cores"), Power({"analyzer": 33.0}, 100.0))
    assert accounted(once, Power()) == once


def test_watts_are_read_for_all_or_for_a_part() -> None:
    """A number, or a part with one; anything else is one clear line."""
    assert parse_watts(("20", "analyzer=700")) == {"": 20.0, "analyzer": 700.0}
    for wrong in ("much", "-3", "fusion=5", "nan"):
        with pytest.raises(ExportError, match="--watts is a number of watts"):
            parse_watts((wrong,))
