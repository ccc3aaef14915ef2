"""The demo: starts the real service, shows it photographs over HTTP, says what it answered, and stops it.

`python -m service.demo [--keep]`; needs the serving install and the photographs inside the `insightface` package, whose
code is never imported. Never answers anything itself: every word about a face comes from the service's answers.
"""

import importlib.util
import io
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click
import numpy as np
from PIL import Image
from rich.console import Console

from service.client import Answer, Service, ServiceProcessError, free_port, is_free, serving
from service.drawing import annotate
from service.imaging import decode, encode_jpeg
from service.schemas import AnalyzeAnswer, ImageAnswer, Problem, VerifyAnswer
from service.words import counted, faces_table, marks, verdict

_USUAL_PORT: Final = 8000
_MAX_PIXELS: Final = 40_000_000
_GROUP: Final = "t1.jpg"
_STRANGER: Final = "Tom_Hanks_54745.png"
_TABLE_WIDTH: Final = 150  # where the output is no terminal, which has a width of its own


@click.command()
@click.option("--keep", is_flag=True, help="Let the service run on until Ctrl-C, for its page and reference.")
@click.option("--photo", type=click.Path(dir_okay=False, path_type=Path), help="Another photograph to analyse.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to serve on.  [default: a free one; --keep: 8000]")
@click.option("--pack", help="Name or path of another pack.")
@click.option("--draw", type=click.Path(dir_okay=False, path_type=Path), default=Path("demo.png"), show_default=True,
              help="Where the annotated photograph goes.")  # fmt: skip
def main(keep: bool, photo: Path | None, port: int | None, pack: str | None, draw: Path) -> None:
    """Starts the service, shows it photographs that come with the insightface package, and stops it again."""
    # SIGINT too: a shell starts what it runs in the background with that signal ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    console, notes = Console(highlight=False), Console(stderr=True)
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    group = photo or bundled(_GROUP)
    data = _read(group)
    try:
        with notes.status("starting the service") as status, serving(_port(port, keep), pack) as service:
            status.stop()
            image = _analyze(service, group.name, data)
            console.print(f"{counted(len(image.faces), 'face')} in {group.name}", soft_wrap=True)
            console.print(faces_table(image))
            _draw(console, data, image, draw)
            if image.faces and image.faces[0].embedding is None:
                console.print("no faces compared: the pack answers no embeddings", soft_wrap=True)
            elif image.faces:
                _compare(service, console, data, image)
            _say_where(service, console, keep)
            while keep and service.process.poll() is None:
                time.sleep(0.2)
    except ServiceProcessError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        notes.print("stopped")


def bundled(name: str) -> Path:
    """A photograph inside the installed insightface package, by its file name.

    Raises:
        click.ClickException: if the package or the photograph is absent.
    """
    spec = importlib.util.find_spec("insightface")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "data" / "images" / name
        if path.is_file():
            return path
    raise click.ClickException(
        f"{name} comes with the insightface package, and is not here: "
        "`pip install --no-deps insightface`, or give a photograph with --photo"
    )


def _analyze(service: Service, name: str, data: bytes) -> ImageAnswer:
    answer = service.post_files("/analyze", [("files", name, data)])
    _expect_ok(answer)
    return AnalyzeAnswer.model_validate_json(answer.body).images[0]


def _compare(service: Service, console: Console, data: bytes, image: ImageAnswer) -> None:
    face = _cut_out(data, image)
    pairs = [("largest face and a poorer copy of it", face, "face.jpg", _poor_copy(face), "copy.jpg")]
    stranger = bundled(_STRANGER)
    pairs.append(("largest face and Tom Hanks", face, "face.jpg", _on_mat(_read(stranger)), stranger.name))
    for what, a, name_a, b, name_b in pairs:
        answer = service.post_files("/verify", [("image_a", name_a, a), ("image_b", name_b, b)])
        _expect_ok(answer)
        found = VerifyAnswer.model_validate_json(answer.body)
        said = verdict(found.same, found.similarity, found.threshold, found.fmr, found.confidence)
        console.print(f"{what}: {said}", soft_wrap=True)


def _cut_out(data: bytes, image: ImageAnswer) -> bytes:
    """The largest face with half a face around it, as a JPEG."""
    pixels = decode(data, max_pixels=_MAX_PIXELS).pixels
    x1, y1, x2, y2 = image.faces[0].box
    margin = max(x2 - x1, y2 - y1) / 2
    top, left = max(int(y1 - margin), 0), max(int(x1 - margin), 0)
    return encode_jpeg(pixels[top : int(y2 + margin), left : int(x2 + margin)])


def _poor_copy(data: bytes) -> bytes:
    """The same picture, a little darker, and compressed harder."""
    with Image.open(io.BytesIO(data)) as picture:
        darker = picture.point([value * 9 // 10 for value in range(256)] * 3)
    return encode_jpeg(np.asarray(darker, np.uint8), 60)


def _on_mat(data: bytes) -> bytes:
    """A tightly cut portrait on a grey mat as wide as itself, so that a detector sees where it ends."""
    with Image.open(io.BytesIO(data)) as portrait:
        width, height = portrait.size
        mat = Image.new("RGB", (2 * width, 2 * height), (128, 128, 128))
        mat.paste(portrait, (width // 2, height // 2))
    target = io.BytesIO()
    mat.save(target, "PNG")
    return target.getvalue()


def _draw(console: Console, data: bytes, image: ImageAnswer, target: Path) -> None:
    pixels = annotate(decode(data, max_pixels=_MAX_PIXELS).pixels, marks(image))
    try:
        Image.fromarray(pixels).save(target)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a picture's name"
        raise click.ClickException(f"cannot write {target}: {reason}") from None
    console.print(f"annotated photograph: {target.resolve()}", soft_wrap=True)


def _say_where(service: Service, console: Console, keep: bool) -> None:
    if keep:
        console.print(f"page: {service.url}  reference: {service.url}docs  (Ctrl-C stops)", soft_wrap=True)
        return
    console.print(
        f"page and reference were at {service.url} and {service.url}docs; `make serve` starts them and stays",
        soft_wrap=True,
    )


def _expect_ok(answer: Answer) -> None:
    if answer.status != 200:
        problem = Problem.model_validate_json(answer.body)
        raise click.ClickException(f"the service answered {problem.status} {problem.title}: {problem.detail}")


def _port(asked: int | None, keep: bool) -> int:
    if asked:
        return asked
    return _USUAL_PORT if keep and is_free(_USUAL_PORT) else free_port()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from None


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
