"""Freed memory stays with the process, and Python's collector leaves alone what does."""

import contextlib
import gc
import subprocess
import sys

import pytest

from service.memory import uncollected
from tests.house import tree

# Arrays that one thread allocates and another frees, as pictures between decoding and detection; prints page faults.
CODE = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from service.memory import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
first, second = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

def come_and_go():
    held = [first.submit(np.ones, 3_000_000, np.uint8).result() for _ in range(4)]
    second.submit(held.clear).result()

for _ in range(8):
    come_and_go()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    come_and_go()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(choice: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, choice], cwd=tree.PROJECT, capture_output=True, text=True, check=True
    )
    kept, number = done.stdout.split()
    return kept, int(number)


def test_pictures_that_come_and_go_cost_no_page_faults() -> None:
    """Fifty times four arrays of 3 MB, allocated in one thread and freed in another, fault less than one would."""
    kept, number = faults("keep")
    if kept == "False":
        pytest.skip("this C library is not glibc, whose mallopt the service sets: not a matter of data or a GPU")
    assert number < 3_000_000 / 4096


def test_without_that_they_do() -> None:
    """The C library alone gives the memory back and faults it in anew: the reason to set anything."""
    if faults("keep")[0] == "False":
        pytest.skip("this C library is not glibc: not a matter of data or a GPU")
    assert faults("leave")[1] > 3_000_000 / 4096


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_is_still_while_modules_are_imported(was_enabled: bool) -> None:
    """Nothing is collected meanwhile; after it, and after an import that failed, the collector is as it was."""
    (gc.enable if was_enabled else gc.disable)()
    try:
        with contextlib.suppress(ImportError), uncollected():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()


def test_what_stands_is_not_looked_through() -> None:
    """What there was when the service was wired is no longer among what the collector tracks; what comes later is."""
    code = """if True:
        import gc
        from service.memory import keep_what_stands
        before = []
        keep_what_stands()
        after = []
        tracked = {id(each) for each in gc.get_objects()}
        print(id(before) in tracked, id(after) in tracked)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tree.PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
