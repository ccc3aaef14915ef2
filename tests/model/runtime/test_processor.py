"""What is known of the processor, and what that does to quantised graphs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.runtime import processor


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in the place of the system's own."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)
    processor.dot_products.cache_clear()
    yield path
    processor.dot_products.cache_clear()


@pytest.mark.parametrize(
    ("text", "known", "shown"),
    [
        ("model name\t: Some CPU\nflags\t\t: sse avx2 avx_vnni\n", ("avx_vnni",), "Some CPU (avx_vnni)"),
        ("model name\t: Old CPU\nflags\t\t: sse avx2\n", (), "Old CPU (no integer dot products known)"),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", ("asimddp",), None),
    ],
)
def test_dot_products_are_read_from_the_system(
    cpuinfo: Path, text: str, known: tuple[str, ...], shown: str | None
) -> None:
    """x86-64's and ARM's names of integer dot products are found among a processor's flags."""
    cpuinfo.write_text(text)
    assert processor.dot_products() == known
    assert shown is None or processor.processor() == shown


def test_an_unknown_system_has_none(cpuinfo: Path) -> None:
    """Where the system does not tell, nothing is assumed."""
    assert not cpuinfo.exists()
    assert processor.dot_products() == ()
