"""The demo's page in Chromium: nine channels move, survive a cut connection and a killed server, and can be held up.

Screenshots go to the folder that the variable MUXTCP_SCREENSHOTS names, else they are thrown away.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MISSING = [tool for tool in ("chromium", "chromedriver") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),  # of the driver's library
]

PATIENCE = 20.0  # seconds: only a test that hangs gets there
KILLED = 2.0  # seconds in which the page must know that its server is gone
FEEDS = 9

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the demo serves its page."""
    command = [sys.executable, "-m", "muxtcp.demo", "--web", "--web-port", "0", "--plain"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stderr is not None
            yield demo.stderr.readline().split()[-1]
        finally:
            demo.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1200"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


class Page:
    """What somebody sees on the page, and does to it."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        WebDriverWait(self.browser, seconds, poll_frequency=0.05).until(lambda _: condition())

    def click(self, name: str) -> None:
        self.browser.find_element(By.ID, name).click()

    def text(self, name: str) -> str:
        return self.browser.find_element(By.ID, name).text

    @property
    def state(self) -> str:
        return self.browser.execute_script("return document.body.dataset.state")

    def cards(self, what: str = "received") -> dict[str, float]:
        """A counter of each channel."""
        script = f"return [...document.querySelectorAll('.card')].map(card => [card.dataset.name, card.dataset.{what}])"
        return {name: float(value or 0) for name, value in self.browser.execute_script(script)}

    def moves(self) -> None:
        """Each channel has got something, and gets more."""
        self.until(lambda: len(self.cards()) == FEEDS and all(self.cards().values()))
        before = self.cards()
        self.until(lambda: all(self.cards()[name] > count for name, count in before.items()))

    def goes_on(self, messages: int = 50) -> None:
        """The busiest channel gets so many messages more."""
        self.until(lambda: len(self.cards()) == FEEDS)
        before = self.cards()["seismograph"]
        self.until(lambda: self.cards()["seismograph"] >= before + messages)

    def is_whole(self) -> None:
        """Nothing was lost or doubled."""
        assert set(self.cards("gaps").values()) == set(self.cards("doubled").values()) == {0}
        assert (self.text("gaps"), self.text("doubled")) == ("0", "0")


@pytest.fixture
def page(browser: Any, url: str) -> Page:
    browser.get(url)
    page = Page(browser)
    page.until(lambda: page.state == "connected")
    return page


def test_nine_channels_move(page: Page) -> None:
    page.moves()
    page.is_whole()
    page.until(lambda: page.browser.find_element(By.CLASS_NAME, "latency").text.endswith("ms"))


def test_a_cut_connection_is_resumed_and_nothing_is_lost(page: Page) -> None:
    page.goes_on()
    for count in ("1", "2", "3"):
        page.click("cut")
        page.until(lambda count=count: page.text("resumed") == count)
        assert page.state == "resumed"
    page.goes_on()
    page.is_whole()
    assert page.text("sessions") == "1"


def test_a_killed_server_is_noticed_and_found_again(page: Page) -> None:
    page.goes_on()
    page.click("kill")
    page.until(lambda: "isconnected" in page.text("state"), KILLED)
    page.until(lambda: page.state == "connected")
    assert "Lost the server was started anew" in page.text("log")
    page.moves()
    page.is_whole()
    assert page.text("sessions") == "2"


def test_one_channel_is_held_up_and_the_others_are_not(page: Page) -> None:
    page.goes_on()
    slider = page.browser.find_element(By.CSS_SELECTOR, "[data-name=night-archive] input")
    slider.send_keys(Keys.HOME)
    assert slider.get_attribute("aria-valuetext") == "none"
    page.until(lambda: page.cards("perSecond")["night-archive"] == 0)
    before = page.cards()
    page.until(lambda: page.cards()["seismograph"] >= before["seismograph"] + 200)
    grown = {name: count - before[name] for name, count in page.cards().items()}
    assert grown["night-archive"] <= 1  # which was waited for already
    assert grown["wind-vane"] >= 15
    assert grown["heartbeat"] >= 5
    assert grown["lighthouse-cam"] >= 15
    slider.send_keys(Keys.END)
    page.goes_on()
    page.is_whole()


def test_with_the_keyboard_alone_and_by_ear(page: Page) -> None:
    body = page.browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    focused = page.browser.switch_to.active_element
    assert focused.get_attribute("id") == "cut"
    assert focused.accessible_name == "Cut the connection"
    focused.send_keys(Keys.ENTER)
    page.until(lambda: page.text("resumed") == "1")
    assert page.browser.find_element(By.ID, "state").aria_role == "status"
    page.until(lambda: len(page.cards()) == FEEDS)
    names = [card.accessible_name for card in page.browser.find_elements(By.CLASS_NAME, "card")]
    assert names == list(page.cards())
    sliders = page.browser.find_elements(By.CSS_SELECTOR, "input")
    assert [slider.accessible_name for slider in sliders] == [
        "Messages of lighthouse-cam to read each second",
        "Messages of night-archive to read each second",
    ]


SIZES = {"wide": (1400, 1200, False), "phone": (390, 844, True)}


def test_how_it_looks(page: Page, tmp_path: Path) -> None:
    page.goes_on(200)
    folder = Path(os.environ.get("MUXTCP_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    command = page.browser.execute_cdp_cmd
    for size, (width, height, mobile) in SIZES.items():
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        command("Emulation.setDeviceMetricsOverride", metrics)
        for scheme in ("light", "dark"):
            command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            page.goes_on()
            assert page.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), size
            assert page.browser.save_screenshot(str(folder / f"{size}-{scheme}.png"))
    command("Emulation.clearDeviceMetricsOverride", {})


def test_the_console_has_nothing_to_say(page: Page) -> None:
    page.goes_on()
    said = [entry["message"] for entry in page.browser.get_log("browser")]
    assert [text for text in said if "WebSocket connection to" not in text] == []  # which a killed server brings about
