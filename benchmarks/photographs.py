"""The photographs that load tests send: InsightFace's of six faces and scikit-image's of one, at several sizes.

Holds bytes alone. Never makes a face up, and never reads a data set.
"""

import importlib.util
import io
from pathlib import Path
from typing import Final

from PIL import Image

_PLACES: Final = (("insightface", "data/images/t1.jpg"), ("skimage", "data/astronaut.png"))


def six_faces() -> bytes:
    """The photograph of six faces, 1280 x 886, as a JPEG's bytes."""
    return _place(*_PLACES[0]).read_bytes()


def sizes() -> dict[str, bytes]:
    """Good images by name: both photographs whole, small, and enlarged to 12 megapixels."""
    made = {}
    for package, relative in _PLACES:
        path = _place(package, relative)
        made[path.name] = path.read_bytes()
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        for name, side_px in (("small", 240), ("large", 4000)):
            scale = side_px / max(photo.size)
            resized = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
            target = io.BytesIO()
            resized.save(target, "JPEG", quality=85)
            made[f"{name}-{path.stem}.jpg"] = target.getvalue()
    return made


def _place(package: str, relative: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed; `make test` installs it")
    return Path(spec.origin).parent / relative
