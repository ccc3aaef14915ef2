"""Training sets in the true layout, small and made up: noise crops whose brightness says the label. Never real."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE_PX: Final = 112
SCHEMA: Final = pa.schema(
    [
        ("name", pa.string()),
        ("image", pa.binary()),
        ("identity", pa.string()),
        ("age", pa.float32()),
        ("gender", pa.int8()),
        ("race", pa.int8()),
        ("expression", pa.int8()),
        ("attributes", pa.list_(pa.int8(), 40)),
        ("teacher", pa.list_(pa.float16(), 128)),
    ]
)


def webp(pixels_SSC: np.ndarray) -> bytes:
    """Lossless WebP bytes of uint8 pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels_SSC).save(file, "WEBP", lossless=True)
    return file.getvalue()


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows as one parquet file; what a row does not name is null."""
    columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA), path)


def write_sets(folder: Path, num_rows: int = 20, seed: int = 0) -> None:
    """Writes the three training sets, celeba in two files, each labelled as the real one is."""
    rng = np.random.default_rng(seed)

    def row(dataset: str, number: int, **labels: object) -> dict[str, object]:
        pixels_SSC = rng.integers(0, 200, (SIDE_PX, SIDE_PX, 3), np.uint8) // 4 + np.uint8(8 * (number % 20))
        teacher = rng.standard_normal(128)
        teacher = (teacher / np.linalg.norm(teacher)).astype(np.float16)
        name = f"{dataset}-{number}.jpg"
        return {"name": name, "image": webp(pixels_SSC), "teacher": list(teacher), **labels}

    folder.mkdir(parents=True, exist_ok=True)
    celeba = [
        row(
            "celeba",
            number,
            identity=f"celeba:{number % 6}",
            gender=number % 2,
            attributes=rng.integers(0, 2, 40).tolist(),
        )
        for number in range(num_rows)
    ]
    write_rows(folder / "celeba-train-00.parquet", celeba[: num_rows // 2])
    write_rows(folder / "celeba-train-01.parquet", celeba[num_rows // 2 :])
    utkface = [row("utkface", n, age=float(n), gender=n % 2, race=n % 5) for n in range(num_rows)]
    write_rows(folder / "utkface-train.parquet", utkface)
    write_rows(folder / "fer2013-train.parquet", [row("fer2013", n, expression=n % 7) for n in range(num_rows)])
