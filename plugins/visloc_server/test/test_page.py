"""The page of ``visloc serve``: its files, and in a real browser with a camera that plays a drive."""

import re
import time

import cv2
import numpy as np
import pytest
from mapped_room import write_video
from test_serve import serving

from plugins.visloc_server.testing.server_process import WAIT_S
from visloc_ros.core.map_layout import CARD_NAME
from visloc_ros.evaluation.report import REPORT_NAME
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_server.page_route import FOLDER

DRIVE = simulate(SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=2.0, rate_hz=20.0), "localize")
SMALL = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=2.0, rate_hz=2.0, noise_std=1.0)
FAKE_CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


class Page:
    """The page in a browser, asked by the ids of its elements."""

    def __init__(self, browser, client):
        self.browser = browser
        browser.get(str(client.base_url))

    def __getitem__(self, name):
        return self.browser.find_element("id", name)

    def click(self, *names):
        for name in names:
            self[name].click()

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def wait_for(self, condition, what):
        deadline = time.monotonic() + WAIT_S
        while not (value := condition()):
            assert time.monotonic() < deadline, (what, self.browser.find_element("tag name", "body").text)
            time.sleep(0.1)
        return value

    def accept(self):
        """The question that comes up."""
        from selenium.webdriver.support import expected_conditions, ui

        ui.WebDriverWait(self.browser, WAIT_S).until(expected_conditions.alert_is_present()).accept()

    def press(self, panel, text):
        """A button by its text; found and pressed at once, for lists are made again while one looks."""
        buttons = f"[...document.querySelectorAll('#{panel} button')]"
        script = f"const one = {buttons}.find((one) => one.textContent === '{text}' && one.checkVisibility());"
        self.wait_for(lambda: self.run(f"{script} setTimeout(() => one?.click()); return Boolean(one);"), text)


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """What the browser takes for a webcam: the drive, there and back, again and again."""
    images = [cv2.imencode(".jpg", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1].tobytes() for frame in DRIVE]
    path = tmp_path_factory.mktemp("camera") / "drive.mjpeg"
    path.write_bytes(b"".join(images + images[::-1]))
    return f"--use-file-for-fake-video-capture={path}"


def test_its_files_are_there_and_nothing_else_is_given_or_loaded(client):
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "page/app.js" in links
    for path in links:
        assert client.get(f"/{path}").headers["content-security-policy"]
    for script in FOLDER.glob("*.js"):
        for path in re.findall(r'from "([^"]+)"', script.read_text()):
            assert client.get(f"/page/{path}").headers["content-type"].startswith("text/javascript")
    for path in ("..%2Fapp.py", "../app.py", "%2Fetc%2Fpasswd", "nothing.js", "three"):
        assert client.get(f"/page/{path}").status_code == 404


def test_a_webcam_is_followed_in_the_map_also_on_a_phone(client, camera, open_browser):
    truth = np.array([DRIVE.pose(index).translation for index in range(len(DRIVE))])
    page = Page(open_browser(*FAKE_CAMERA, camera), client)
    page.wait_for(lambda: "1494 points of 30 images" in page["view-note"].text, "map")
    page.click("webcam")
    page.wait_for(lambda: page["state"].text == "LOCALIZED", "pose")

    def seen():
        position = page.run("return visloc.scene.camera.matrix.elements.slice(12, 15)")
        assert np.linalg.norm(truth - position, axis=1).min() < 0.1
        return position

    trail = page.run("return visloc.scene.trail.length")
    page.wait_for(lambda: page.run("return visloc.scene.trail.length") > trail + 20, "trail")
    first = seen()
    page.wait_for(lambda: np.linalg.norm(np.subtract(seen(), first)) > 0.02, "way")
    assert "inliers" in page["search"].text
    assert page["calibration"].text.startswith("focal length 24")
    page.browser.set_window_size(390, 844)
    page.wait_for(lambda: page.run("return document.documentElement.scrollWidth") <= 390, "narrow page")
    page.click("stop")
    assert page["state"].text == "no camera"
    assert page["webcam"].is_displayed()
    page.browser.quit()


def test_a_video_is_uploaded_and_built_and_its_map_used_read_and_deleted(tmp_path, open_browser):
    write_video(tmp_path / "walk.mp4", SMALL)
    (tmp_path / "maps").mkdir()
    (tmp_path / "drives" / "monday").mkdir(parents=True)
    (tmp_path / "drives" / "monday" / REPORT_NAME).write_text("<p>It drove.</p><script>parent.alert(1)</script>")
    with serving(tmp_path / "maps", "--reports", str(tmp_path / "drives")) as client:
        page = Page(open_browser(), client)
        page.wait_for(lambda: "no map yet" in page["camera-note"].text, "words")
        page.click("tab-build")
        page["build-name"].send_keys("office")
        page["build-file"].send_keys(str(tmp_path / "walk.mp4"))
        page.press("build", "Upload and build")
        page.wait_for(lambda: page["jobs"].find_elements("tag name", "progress"), "progress")
        page.wait_for(lambda: "4 of 4 images registered" in page["jobs"].text, "map")
        page.click("tab-maps")
        page.press("maps", "Card")
        card = (tmp_path / "maps" / "office" / CARD_NAME).read_text()
        page.wait_for(lambda: page["reader-frame"].get_attribute("srcdoc") == card, "card")
        page.press("reader", "Close")
        page.press("maps", "Use")
        page.wait_for(lambda: "points of 4 images" in page["view-note"].text, "map in the view")
        page.click("tab-reports")
        page.press("reports", "Read")
        page.wait_for(lambda: "It drove" in page["reader-frame"].get_attribute("srcdoc"), "report")
        page.browser.switch_to.frame(page["reader-frame"])
        assert page.browser.find_element("tag name", "p").text == "It drove."
        page.browser.switch_to.default_content()
        page.press("reader", "Close")  # an alert of the report would be in the way
        page.click("tab-maps")
        page.press("maps", "Delete")
        page.accept()
        page.wait_for(lambda: "There is no map yet" in page["maps"].text, "deletion")
        assert not (tmp_path / "maps" / "office").exists()
        page.browser.quit()


def test_a_photo_is_found_once_the_token_is_given(guarded_client, token, tmp_path, open_browser):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), cv2.cvtColor(DRIVE.frame(0).image, cv2.COLOR_RGB2BGR))
    page = Page(open_browser(), guarded_client)
    for given in ("wrong", token):
        # Empty: it has been opened again, not left open from the token before.
        page.wait_for(lambda: page["token"].is_displayed() and not page["token"].get_attribute("value"), "dialog")
        page["token"].send_keys(given)
        page.press("token-dialog", "Continue")
    page.wait_for(lambda: "1494 points" in page["view-note"].text, "map")
    page["file"].send_keys(str(photo))
    page.wait_for(lambda: "photo.png: found" in page["photos"].text, "pose")
    shown = [float(value) for value in page["position"].text.removesuffix(" m").split(", ")]
    assert shown == pytest.approx(DRIVE.pose(0).translation.tolist(), abs=0.1)
    picture = page["photos"].find_element("tag name", "img")
    page.wait_for(lambda: page.run("return arguments[0].naturalWidth > 0", picture), "picture of the photo")
    rows = page["readout"].find_elements("tag name", "dd")
    assert "–" not in [row.text for row in rows if row.is_displayed()]
    assert "matches agree" in page["support"].text
    page.browser.quit()
