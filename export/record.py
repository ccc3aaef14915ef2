"""The record of an export: what a manifest's `exported_with` states of versions and of the comparison.

Never measures anything and never imports torch.
"""

import platform
from importlib import metadata
from typing import Final

from export.check import GraphCheck
from model.runtime.session import runtime_version

_PACKAGES: Final = ("torch", "timm", "onnx", "onnxscript")


def versions(command: str) -> dict[str, str]:
    """What was typed, and the version of everything that shapes a graph."""
    return {
        "command": command,
        "mien": metadata.version("mien"),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        "onnxruntime": runtime_version(),
    }


def compared(check: GraphCheck, crops_from: str, with_what: str = "its network") -> str:
    """In one line: what a graph was compared with, on what, and the largest differences.

    Args:
        check: what the comparison measured.
        crops_from: where its real crops come from.
        with_what: what the graph must answer as.
    """
    worst = ", ".join(f"{task} {value:.1e}" for task, value in check.worst.items())
    sizes = ", ".join(str(size) for size in check.batch_sizes)
    real = f"{check.num_crops} real crops of {crops_from}" if check.num_crops else "no real crops"
    border = (
        f"; {check.num_at_border} ages at the border of two years may fall on either side"
        if check.num_at_border
        else ""
    )
    return f"with {with_what} at batch sizes {sizes} on {real} and edge inputs; largest differences: {worst}{border}"
