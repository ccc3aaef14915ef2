"""Pace: a mean of seconds an image while every lane is busy, and who is let in by it."""

import time

import pytest

from service.admission import Admission, State
from service.errors import DeadlinePassed, WouldMissDeadline
from service.metrics import Metrics
from service.pace import Pace


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def finish(pace: Pace, clock: Clock, seconds: float, num: int, left: int) -> None:
    clock.now += seconds
    pace.finished(num, left)


def test_time_between_finished_images_is_the_pace() -> None:
    """Images that are finished every half second, one or four at once, take half a second or an eighth each."""
    for num, expected in ((1, 0.5), (4, 0.125)):
        clock = Clock()
        pace = Pace(2, clock)
        for _ in range(10):
            finish(pace, clock, 0.5, num, left=5)
        assert pace.predicted_seconds(9) == pytest.approx(10 * expected)


def test_pace_follows_what_changes() -> None:
    """Slower images move the mean, the newest most."""
    clock = Clock()
    pace = Pace(1, clock)
    for seconds in [0.1] * 20 + [0.2] * 100:
        finish(pace, clock, seconds, 1, left=5)
    assert pace.predicted_seconds(9) == pytest.approx(2.0, rel=0.01)


def test_callers_pace_is_not_the_services() -> None:
    """Time in which lanes idled is not measured, however few images came in it."""
    clock = Clock()
    pace = Pace(4, clock)
    for _ in range(5):
        finish(pace, clock, 60.0, 1, left=3)
    assert pace.predicted_seconds(50) == 0
    finish(pace, clock, 60.0, 1, left=4)
    finish(pace, clock, 0.1, 1, left=4)
    assert pace.predicted_seconds(9) == pytest.approx(1.0)


def test_idle_lanes_are_always_given_work() -> None:
    """Whatever was measured, nothing is predicted while fewer images are under way than keep the lanes busy."""
    clock = Clock()
    pace = Pace(4, clock)
    for _ in range(3):
        finish(pace, clock, 100.0, 1, left=4)
    assert (pace.predicted_seconds(3), pace.predicted_seconds(4)) == (0, 500.0)


def test_service_that_stands_still_says_so_before_its_next_image() -> None:
    """While nothing is finished the prediction grows, and is mended by the images that then come at the old pace."""
    clock = Clock()
    pace = Pace(1, clock)
    for _ in range(10):
        finish(pace, clock, 0.1, 1, left=5)
    predicted = [pace.predicted_seconds(9)]
    for _ in range(3):
        clock.now += 1.6
        predicted.append(pace.predicted_seconds(9))
    assert predicted == pytest.approx([1.0, 1.0 + 1.5 / 1.6, 1.0 + 3.1 / 1.6, 1.0 + 4.7 / 1.6])
    for _ in range(100):
        finish(pace, clock, 0.1, 1, left=5)
    assert pace.predicted_seconds(9) == pytest.approx(1.0, rel=0.01)


def test_images_that_are_given_up_are_no_work_done() -> None:
    """A request that missed its deadline does not make the service look quicker."""
    clock = Clock()
    pace = Pace(1, clock)
    finish(pace, clock, 1.0, 1, left=9)
    for _ in range(10):
        clock.now += 0.1
        pace.dropped(9)
    finish(pace, clock, 0.0, 1, left=9)
    assert pace.predicted_seconds(9) == pytest.approx(10.0)


def test_who_would_miss_the_deadline_is_not_let_in() -> None:
    """With eight images under way at a second each, twelve seconds are too few, and fifteen are not."""
    clock = Clock()
    admission = Admission(64, lambda: 0.0, Metrics(), full=2)
    admission._pace = Pace(2, clock)
    admission.enter(State.READY)
    tickets = [admission.admit() for _ in range(10)]
    for _ in range(2):
        clock.now += 1.0
        with tickets.pop():
            pass
    now = time.monotonic()
    assert isinstance(admission.turned_away(now + 12), WouldMissDeadline)  # nine seconds, and half of that in case
    with pytest.raises(WouldMissDeadline):
        admission.admit(now + 12)
    assert admission.turned_away(now + 15) is None
    assert admission.turned_away() is None
    assert admission.in_flight == 8
    with pytest.raises(DeadlinePassed), tickets.pop():
        raise DeadlinePassed("")
    assert admission.in_flight == 7
