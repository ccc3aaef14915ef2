"""`POST /analyze` through a real server: forms of bodies, options, and what a face's answer is."""

import base64
import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, RACES
from service.onnx_engine import open_engine
from service.schemas import AnalyzeAnswer
from tests.packs import SIDE_PX, Square, build_pack, encode, paint, photo
from tests.service.pictures import opened, saved
from tests.service.serving import Served, gated, serving, settings_for, wait_until

BIG = Square(64, 48, 64, (250, 250, 100))
BRIGHT = Square(16, 16)
DIM = Square(8, 120, 32, (200, 100, 180))
THREE = photo(BRIGHT, DIM, BIG)


def analyze(served: Served, data: bytes = THREE, query: str = "") -> dict[str, Any]:
    answer = served.client.post(f"/analyze{query}", content=data, headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    AnalyzeAnswer.model_validate(body)
    return body


def faces(served: Served, query: str = "", data: bytes = THREE) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = analyze(served, data, query)["images"][0]["faces"]
    return found


def test_finds_every_face_largest_first(served: Served) -> None:
    """Every face is answered, the largest first, with its box in the image's pixels."""
    assert [face["box"] for face in faces(served)] == [[64, 48, 128, 112], [16, 16, 48, 48], [8, 120, 40, 152]]


def test_three_forms_of_body_give_the_same_faces(served: Served) -> None:
    """A raw body, a multipart part and base64 in JSON are the same image."""
    raw = faces(served)
    form = served.client.post("/analyze", files=[("files", ("a.jpg", THREE, "text/plain"))]).json()
    text = served.client.post("/analyze", json={"images": [base64.b64encode(THREE).decode()]}).json()
    assert form["images"][0]["faces"] == raw
    assert text["images"][0]["faces"] == raw
    assert (form["images"][0]["name"], text["images"][0]["name"]) == ("a.jpg", None)


def test_many_images_keep_their_order_and_names(served: Served) -> None:
    """Each image's faces stand under its own name, in the order in which the images came."""
    files = [("files", (f"{x}.png", photo(Square(x, 16)))) for x in range(8, 104, 8)]
    images = served.client.post("/analyze", files=files).json()["images"]
    assert [image["name"] for image in images] == [name for _, (name, _) in files]
    assert [image["faces"][0]["box"][0] for image in images] == list(range(8, 104, 8))


def test_answers_every_task_but_race_by_default(served: Served) -> None:
    """A face has every task of the pack but race, and race when it is asked for."""
    face = faces(served)[0]
    assert {"embedding", "age", "gender", "expression", "attributes"} <= set(face)
    assert "race" not in face
    assert set(faces(served, "?tasks=race")[0]["race"]["probabilities"]) == set(RACES)


def test_race_is_the_default_where_it_is_all_there_is(tmp_path: Path) -> None:
    """A pack that has race alone answers race by default."""
    pack = build_pack(tmp_path / "race", tasks=[["race"]], calibrated=False)
    with serving(settings_for(pack)) as served:
        assert faces(served)[0]["race"]["label"] in RACES


def test_only_the_tasks_asked_for(served: Served) -> None:
    """A task that was not asked for has no key."""
    assert set(faces(served, "?tasks=age,gender")[0]) == {"box", "score", "landmarks", "quality", "age", "gender"}


def test_values_are_the_engines_own(served: Served, tiny_pack: Path) -> None:
    """What is served for an aligned crop is what the graph itself answers, number for number."""
    crop = np.random.default_rng(3).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
    outputs = open_engine(str(tiny_pack)).analyze(0, crop[None])
    (face,) = faces(served, "?aligned=true&tasks=embedding,age,gender,expression,attributes,race", encode(crop))
    np.testing.assert_array_equal(np.array(face["embedding"], np.float32), outputs["embedding"][0])
    assert np.float32(face["age"]["years"]) == outputs["age"][0]
    probabilities = face["expression"]["probabilities"]
    assert list(probabilities) == list(EXPRESSIONS)
    np.testing.assert_array_equal(np.array(list(probabilities.values()), np.float32), outputs["expression"][0])
    assert face["expression"]["label"] == EXPRESSIONS[int(outputs["expression"][0].argmax())]
    assert list(face["attributes"]) == list(ATTRIBUTES)
    np.testing.assert_array_equal(np.array(list(face["attributes"].values()), np.float32), outputs["attributes"][0])
    assert np.float32(face["gender"]["probability"]) == outputs["gender"][0].max()


def test_aligned_crop_is_one_face_that_fills_its_image(served: Served) -> None:
    """An aligned crop of any size is one face: box the image, score, landmarks and quality null."""
    for width, height in ((SIDE_PX, SIDE_PX), (80, 60)):
        (face,) = faces(served, "?aligned=true", photo(width=width, height=height))
        assert face["box"] == [0, 0, width, height]
        assert (face["score"], face["landmarks"], face["quality"]) == (None, None, None)


def test_embedding_in_base64_is_the_same_numbers(served: Served) -> None:
    """Base64 embeddings are little-endian float32, equal to the numbers of the other form."""
    numbers = faces(served)[0]["embedding"]
    text = faces(served, "?embedding=base64")[0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), np.float32(numbers))
    assert math.isclose(sum(number**2 for number in numbers), 1, rel_tol=1e-5)


def test_max_faces_keeps_the_largest(served: Served) -> None:
    """max_faces answers the largest faces."""
    assert [face["box"][0] for face in faces(served, "?max_faces=2")] == [64, 16]


def test_min_face_is_in_pixels_of_the_image(served: Served) -> None:
    """min_face drops faces whose shorter side is under so many pixels of the full-size image."""
    assert [face["box"][0] for face in faces(served, "?min_face=33")] == [64]
    double = np.asarray(Image.fromarray(paint([BRIGHT, BIG])).resize((320, 320), Image.Resampling.NEAREST))
    assert len(faces(served, "?min_face=60", encode(double))) == 2


def test_min_score_replaces_the_packs(served: Served) -> None:
    """min_score sets the least detection score, above or under the pack's own."""
    dark = photo(BRIGHT, Square(64, 48, 64, (60, 60, 60)))
    found = [faces(served, query, dark) for query in ("", "?min_score=0.2", "?min_score=0.95")]
    there = [any(face["box"] == [64, 48, 128, 112] for face in each) for each in found]
    assert (there, len(found[0]), len(found[2])) == ([False, True, False], 1, 0)
    assert all(face["score"] >= 0.2 for face in found[1])


def test_crops_are_the_aligned_faces(served: Served) -> None:
    """crops adds each face's aligned crop as a base64 JPEG: here the square that the face is."""
    crop = faces(served, "?crops=true")[0]["crop"]
    with Image.open(BytesIO(base64.b64decode(crop))) as image:
        assert (image.format, image.size) == ("JPEG", (SIDE_PX, SIDE_PX))
        np.testing.assert_allclose(np.asarray(image)[8:24, 8:24].mean((0, 1)), BIG.color, atol=6)
    assert "crop" not in faces(served)[0]


def test_boxes_are_in_pixels_of_a_large_jpeg(served: Served) -> None:
    """A JPEG that is decoded scaled down answers boxes and landmarks in pixels of its full size."""
    large = Image.fromarray(paint([BIG])).resize((1280, 1280), Image.Resampling.NEAREST)
    target = BytesIO()
    large.save(target, "JPEG", quality=95)
    (face,) = faces(served, "", target.getvalue())
    np.testing.assert_allclose(face["box"], [512, 384, 1024, 896], atol=1)
    assert 512 < face["landmarks"]["left_eye"][0] < face["landmarks"]["right_eye"][0] < 1024


def test_small_face_on_a_large_picture_is_cut_from_full_size(tmp_path: Path) -> None:
    """A face that detection sees small is cut from as many pixels as its crop has, and the crop shows the detail."""
    pack = build_pack(tmp_path / "fine", sides_px=[128])
    pixels = np.zeros((1280, 1280, 3), np.uint8)
    pixels[128:384, 128:384] = 255
    pixels[128:384, 128:384:4] = 128  # stripes that a picture at detection's own scale no longer has
    target = BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=100, subsampling=0)
    with serving(settings_for(pack)) as served:
        for data in (target.getvalue(), encode(pixels)):
            (face,) = faces(served, "?crops=true&tasks=age", data)
            with Image.open(BytesIO(base64.b64decode(face["crop"]))) as crop:
                # At detection's scale of a quarter every column is the same mean; at the crop's own they differ.
                assert np.asarray(crop.convert("L"), np.float32)[32:96, 32:96].std() > 10


def test_no_face_is_an_answer(served: Served) -> None:
    """An image without a face is 200 with no faces."""
    assert analyze(served, photo())["images"] == [
        {"name": None, "width": 160, "height": 160, "error": None, "faces": []}
    ]


def test_one_bad_image_among_several_gets_its_own_error(served: Served) -> None:
    """The bad one carries its error and no faces; the others are answered."""
    files = [("files", ("a.png", THREE)), ("files", ("b.png", b"no image")), ("files", ("c.png", THREE[:300]))]
    images = served.client.post("/analyze", files=files).json()["images"]
    assert [len(image["faces"]) for image in images] == [3, 0, 0]
    assert [image["error"] and image["error"]["status"] for image in images] == [None, 415, 422]
    assert images[1]["error"].keys() == {"status", "title", "detail"}


def test_only_image_bad_gives_its_status(served: Served) -> None:
    """A request whose only image is bad gets that image's error as its own."""
    answer = served.client.post("/analyze", files=[("files", ("a.png", b"no image"))])
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")


def test_bad_base64_is_an_images_own_error(served: Served) -> None:
    """One image of several that is no base64 gets its own error."""
    good = base64.b64encode(THREE).decode()
    images = served.client.post("/analyze", json={"images": ["%%%", good]}).json()["images"]
    assert (images[0]["error"]["status"], len(images[1]["faces"])) == (422, 3)


def test_several_analyzers_are_merged(tmp_path: Path) -> None:
    """A pack of two analyzers with their own crop sizes and alignments answers the tasks of both."""
    pack = build_pack(tmp_path / "two", tasks=[["embedding", "age"], ["gender", "expression"]], sides_px=[32, 48])
    with serving(settings_for(pack)) as served:
        face = faces(served)[0]
        assert {"embedding", "age", "gender", "expression"} <= set(face)
        assert face["age"]["years"] == pytest.approx(100 * sum(BIG.color) / 3 / 255, abs=4)
        assert set(faces(served, "?tasks=gender")[0]) == {"box", "score", "landmarks", "quality", "gender"}
        # Three faces in each of two requests; the second asked nothing of the first analyzer.
        assert [served.metric("mien_batch_size_sum", model=f"analyzer-{index}") for index in (0, 1)] == [3, 6]


def test_timings_state_every_stage(served: Served) -> None:
    """timings_ms has all six stages, none negative, none over the total."""
    timings = analyze(served)["timings_ms"]
    assert list(timings) == ["decode", "detect", "align", "queue", "infer", "total"]
    assert all(0 <= timings[stage] <= timings["total"] for stage in timings)


def test_real_photograph_passes_through(served: Served, astronaut: bytes) -> None:
    """A real photograph is read and answered with its own size."""
    (image,) = analyze(served, astronaut)["images"]
    assert (image["width"], image["height"], image["error"]) == (512, 512, None)


def test_wait_for_the_analyzer_is_told(tiny_pack: Path) -> None:
    """`timings_ms.queue` holds the wait for an analyzer's run, beside that for the detector's."""
    engine = gated(tiny_pack)
    with serving(settings_for(tiny_pack, lanes=1), engine) as served, ThreadPoolExecutor(2) as callers:
        ask = partial(served.client.post, "/analyze?aligned=true", content=THREE, headers={"content-type": "image/png"})
        first = callers.submit(ask)
        engine.wait_for_run()
        second = callers.submit(ask)
        wait_until(lambda: served.metric("mien_queue_length", model="analyzer-0") == 1)
        stood_since = time.monotonic()
        wait_until(lambda: time.monotonic() - stood_since > 0.05)
        engine.gate.set()
        assert first.result().status_code == 200
        assert second.result().json()["timings_ms"]["queue"] >= 50


def test_wait_to_be_decoded_is_told(tiny_pack: Path) -> None:
    """`timings_ms.queue` holds the wait for the lane that decodes a JPEG, too: under load that is most of it."""
    engine = gated(tiny_pack)
    jpeg = saved(opened(THREE), "JPEG")
    with serving(settings_for(tiny_pack, lanes=1), engine) as served, ThreadPoolExecutor(2) as callers:
        ask = partial(served.client.post, "/analyze?aligned=true", content=jpeg, headers={"content-type": "image/jpeg"})
        first = callers.submit(ask)
        engine.wait_for_run()
        second = callers.submit(ask)
        wait_until(lambda: served.parts.admission.in_flight == 2)
        stood_since = time.monotonic()
        wait_until(lambda: time.monotonic() - stood_since > 0.05)
        engine.gate.set()
        assert first.result().status_code == 200
        assert second.result().json()["timings_ms"]["queue"] >= 50
