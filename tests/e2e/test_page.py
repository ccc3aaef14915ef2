"""The page and the reference in a real browser: what a visitor sees, and that nothing leaves the machine.

Needs Chromium and its driver, which CI installs: there a missing browser fails, elsewhere it skips.
"""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from service.client import Service, free_port, serving
from tests.e2e.conftest import NUM_FACES
from tests.imported import Imported, run
from tests.service.pictures import opened, oriented

WAIT_SECONDS: Final = 60
KEY: Final = "a key of the tests"


class Browser:
    """A headless Chromium that notes its console and every request."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Opens an address afresh; what was noted before is forgotten."""
        self.driver.get("about:blank")
        self.errors()
        self.requests()
        self.driver.get(url)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def wait_for(self, selector: str, number: int = 1) -> list[WebElement]:
        """Waits until so many elements are there."""
        WebDriverWait(self.driver, WAIT_SECONDS).until(lambda _: len(self.all(selector)) == number, selector)
        return self.all(selector)

    def wait_for_text(self, selector: str, text: str) -> None:
        """Waits until an element holds a text."""
        WebDriverWait(self.driver, WAIT_SECONDS).until(lambda _: text in self.one(selector).text, text)

    def choose(self, *paths: Path) -> None:
        """Chooses files as a visitor does in the file dialogue."""
        self.one("#choose").send_keys("\n".join(str(path) for path in paths))

    def errors(self) -> list[str]:
        """Console errors since last asked."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """Addresses asked for since last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def _log(self, kind: str) -> list[dict[str, str]]:
        return list(self.driver.get_log(kind))  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have a browser: apt-get install chromium chromium-driver")
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1360,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Driver(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Browser]:
    """The page, opened; the test fails if it asked another host for anything."""
    browser.open(service.url)
    browser.wait_for_text("#pack", "nano")
    yield browser
    asked = [url for url in browser.requests() if not url.startswith((service.url, "blob:", "data:"))]
    assert asked == []


def test_a_chosen_photograph_gets_a_card_for_each_face(page: Browser, six_faces_path: Path) -> None:
    """Six cards with crop, age and gender, expression, attributes and quality; boxes on the canvas; a quiet console."""
    page.choose(six_faces_path)
    cards = page.wait_for("article.face", NUM_FACES)
    assert page.one("#status").text == "6 faces in t1.jpg"
    for card in cards:
        assert ", about " in card.find_element(By.CSS_SELECTOR, "h3").text
        assert len(card.find_elements(By.CSS_SELECTOR, ".bars:not(.wide) li")) == 7
        assert len(card.find_elements(By.CSS_SELECTOR, ".bars.wide li")) == 40
        assert "Sharpness" in card.text
        crop = card.find_element(By.CSS_SELECTOR, ".face-head img")
        assert page.driver.execute_script("return arguments[0].naturalWidth", crop) >= 32
    assert painted_pixels(page) > 1000
    assert page.errors() == []


def test_a_dropped_photograph_is_analysed(page: Browser, six_faces: bytes) -> None:
    """Dropping a file anywhere on the page does the same as choosing it."""
    give(page, "drop", "dataTransfer", "dropped.jpg", six_faces)
    page.wait_for("article.face", NUM_FACES)
    assert page.one("#status").text == "6 faces in dropped.jpg"
    assert page.errors() == []


def test_a_pasted_photograph_is_analysed(page: Browser, six_faces: bytes) -> None:
    """Pasting a picture does the same as choosing it."""
    give(page, "paste", "clipboardData", "pasted.jpg", six_faces)
    page.wait_for("article.face", NUM_FACES)
    assert page.errors() == []


def test_several_pictures_are_analysed_and_cleared(page: Browser, six_faces_path: Path, astronaut_path: Path) -> None:
    """Two pictures stand one below the other with seven faces in all, until they are cleared."""
    page.choose(six_faces_path, astronaut_path)
    page.wait_for("article.face", NUM_FACES + 1)
    page.wait_for_text("#status", "7 faces in 2 pictures")
    page.one("#clear").click()
    page.wait_for("article.face", 0)
    assert not page.one("#bar").is_displayed()


def test_boxes_lie_on_the_faces_of_a_photograph_on_its_side(page: Browser, tmp_path: Path, six_faces: bytes) -> None:
    """A picture whose EXIF turns it is shown upright, and its size on the page is the upright one."""
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(oriented(opened(six_faces), 6, quality=90))
    page.choose(turned)
    page.wait_for("article.face", NUM_FACES)
    assert "1280 \u00d7 886" in page.one("figcaption").text
    shown = page.driver.execute_script(
        "const image = document.querySelector('.frame img'); return [image.naturalWidth, image.naturalHeight]"
    )
    assert shown == [1280, 886]


def test_two_selected_faces_are_compared(page: Browser, six_faces_path: Path) -> None:
    """Choosing two faces of different people shows the service's verdict, by keyboard alone; a third replaces one."""
    page.choose(six_faces_path)
    cards = page.wait_for("article.face", NUM_FACES)
    buttons = [card.find_element(By.CSS_SELECTOR, "button") for card in cards]
    buttons[0].send_keys(Keys.ENTER)
    page.wait_for_text("#compare", "One more face")
    buttons[1].send_keys(Keys.SPACE)
    page.wait_for_text("#compare", "similarity")
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["true", "true"] + ["false"] * 4
    assert page.one("#compare b").text in ("Same person", "Different people", "No verdict")
    buttons[2].send_keys(Keys.ENTER)
    assert [button.get_attribute("aria-pressed") for button in buttons[:3]] == ["false", "true", "true"]
    assert page.errors() == []


def test_an_error_is_shown_by_its_title_and_detail(page: Browser, tmp_path: Path, six_faces_path: Path) -> None:
    """A text named .jpg shows why it was refused, and the next picture is answered."""
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear reader, I am no photograph.")
    page.choose(letter)
    problem = page.wait_for(".problem")[0]
    assert "Not an allowed image type" in problem.text
    assert "JPEG, PNG, WebP, BMP, GIF and TIFF" in problem.text
    page.choose(six_faces_path)
    page.wait_for("article.face", NUM_FACES)


def test_a_picture_that_the_browser_cannot_show_is_answered(page: Browser, tmp_path: Path, six_faces: bytes) -> None:
    """A TIFF, which Chromium does not read, has its cards and its boxes on an empty ground."""
    path = tmp_path / "group.tiff"
    opened(six_faces).save(path)
    page.choose(path)
    page.wait_for("article.face", NUM_FACES)
    assert page.all(".frame img") == []
    assert painted_pixels(page) > 1000


def test_the_page_works_with_a_key_and_does_not_keep_it(browser: Browser, six_faces_path: Path) -> None:
    """With a key set, a picture is refused without it and answered with it; nothing is stored in the browser."""
    with serving(free_port(), environment={"MIEN_API_KEYS": hashlib.sha256(KEY.encode()).hexdigest()}) as locked:
        browser.open(locked.url)
        browser.choose(six_faces_path)
        assert "Missing or wrong key" in browser.wait_for(".problem")[0].text
        browser.one(".key summary").click()
        browser.one("#key").send_keys(KEY)
        browser.choose(six_faces_path)
        browser.wait_for("article.face", NUM_FACES)
        kept = "return [localStorage.length, sessionStorage.length, document.cookie]"
        assert browser.driver.execute_script(kept) == [0, 0, ""]
        browser.driver.refresh()
        assert browser.one("#key").get_attribute("value") == ""


def test_a_pack_without_gender_age_and_embeddings_shows_what_it_has(
    browser: Browser, small_faer: Imported, six_faces_path: Path
) -> None:
    """Cards of a pack of expression and attributes have these, a plain heading, and no button to compare by."""
    with serving(free_port(), pack=str(small_faer.folder)) as service:
        browser.open(service.url)
        browser.choose(six_faces_path)
        cards = browser.wait_for("article.face", NUM_FACES)
        for number, card in enumerate(cards, 1):
            assert card.find_element(By.CSS_SELECTOR, "h3").text == f"{number}Face {number}"
            assert len(card.find_elements(By.CSS_SELECTOR, ".bars:not(.wide) li")) == 7
            assert len(card.find_elements(By.CSS_SELECTOR, ".bars.wide li")) == 40
            assert card.find_elements(By.CSS_SELECTOR, "button") == []
        assert browser.errors() == []


def test_a_pack_of_embeddings_alone_compares(browser: Browser, tmp_path: Path, six_faces_path: Path) -> None:
    """Cards of a pack that answers nothing but embeddings show no bars, and two of them are compared."""
    run("combine", "nano=embedding", "--out", tmp_path / "bare")
    with serving(free_port(), pack=str(tmp_path / "bare")) as service:
        browser.open(service.url)
        browser.choose(six_faces_path)
        cards = browser.wait_for("article.face", NUM_FACES)
        assert browser.all(".bars") == []
        for card in cards[:2]:
            card.find_element(By.CSS_SELECTOR, "button").send_keys(Keys.ENTER)
        browser.wait_for_text("#compare", "similarity")
        assert browser.errors() == []


def test_every_control_has_a_name_and_the_picture_a_description(page: Browser, six_faces_path: Path) -> None:
    """What a screen reader would say of buttons, fields and pictures is never nothing."""
    page.choose(six_faces_path)
    page.wait_for("article.face", NUM_FACES)
    for closed in page.all("details:not([open]) > summary"):
        page.driver.execute_script("arguments[0].parentElement.open = true", closed)
    controls = [*page.all("button"), *page.all("input"), *page.all("a"), *page.all("summary"), *page.all("article")]
    for control in controls:
        assert control.accessible_name, control.get_attribute("outerHTML")
    for picture in page.all("main img"):
        assert picture.get_attribute("alt")
    assert page.one("html").get_attribute("lang") == "en"


def test_on_a_phone_nothing_stands_over_the_edge(page: Browser, six_faces_path: Path) -> None:
    """At 390 pixels the page is not wider than the screen, with and without cards."""
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        for faces in (0, NUM_FACES):
            if faces:
                page.choose(six_faces_path)
                page.wait_for("article.face", faces)
            assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_reference_is_drawn_without_another_host(browser: Browser, service: Service) -> None:
    """/docs shows every route, offline, with a quiet console."""
    browser.open(f"{service.url}docs")
    WebDriverWait(browser.driver, WAIT_SECONDS).until(lambda _: len(browser.all(".opblock")) >= 7)
    routes = {element.text.replace("\u200b", "") for element in browser.all(".opblock-summary-path")}
    assert {"/analyze", "/verify", "/search", "/model", "/livez", "/readyz", "/metrics"} <= routes
    assert browser.errors() == []
    assert [url for url in browser.requests() if not url.startswith((service.url, "data:"))] == []


def give(page: Browser, event: str, holder: str, name: str, data: bytes) -> None:
    """Fires a drop or a paste that carries one file."""
    page.driver.execute_script(
        """
        const [event, holder, name, text] = arguments;
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
        const kind = holder === "dataTransfer" ? DragEvent : ClipboardEvent;
        document.body.dispatchEvent(new kind(event, { [holder]: transfer, bubbles: true, cancelable: true }));
        """,
        event, holder, name, base64.b64encode(data).decode(),
    )  # fmt: skip


def painted_pixels(page: Browser) -> int:
    """Pixels of the first canvas that something was drawn on."""
    script = """
        const canvas = document.querySelector(".frame canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let painted = 0;
        for (let at = 3; at < data.length; at += 4) painted += data[at] > 0 ? 1 : 0;
        return painted;
    """
    return int(page.driver.execute_script(script))
