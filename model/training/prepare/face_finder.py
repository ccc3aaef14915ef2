"""The detector that finds faces while a set is prepared: a pack's, or an ONNX file.

Holds how it is opened. Never detects by itself.
"""

from pathlib import Path

from model.runtime.detection import Detector
from model.runtime.pack import DetectorPart, find_pack, read_pack, sha256_of
from model.runtime.session import open_session


def open_detector(name_or_path: str) -> tuple[Detector, str]:
    """Opens a detector on the CPU, one thread a run: images are prepared side by side.

    Args:
        name_or_path: a pack by name or path, or an SCRFD-format ONNX file.

    Returns:
        The detector, and the SHA-256 of its file.

    Raises:
        PackError: if there is no such pack or file, or it is no detector with landmarks.
        SessionError: if the graph cannot be opened.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == ".onnx":
        digest = sha256_of(path)
        return Detector(open_session(path), DetectorPart(file="detector.onnx", sha256=digest)), digest
    folder = find_pack(name_or_path)
    part = read_pack(folder).detector
    digest = sha256_of(folder / part.file)
    return Detector(open_session(folder / part.file), part), digest
