"""Walks the whole studio in a browser without a screen, and keeps pictures of every step.

    python bench/walk.py [--faq FILE] [--base FOLDER] [--language en] [--phone] [--halt] [--demo]

Starts `kefu studio` on a folder of its own, goes from the file (without one: from the sample) to
the packed bot as a shop owner would, counts the clicks up to the exam's report, and writes every
address that was asked for outside this machine (there must be none). Needs Chromium and the extras
`studio` and `dev`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT = 300
"""Seconds that a step of the page may take: a busy machine starts nothing in one minute."""
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
MOST_CLICKS = 8
SHOTS = Path(__file__).resolve().parents[1] / "artifacts" / "studio"


def chromium() -> str | None:
    """Where the browser is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def studio(folder: Path, **environment: str) -> Iterator[str]:
    """`kefu studio` on a folder, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "kefu", "-C", str(folder), "studio", "--port", str(port), "--no-open"]
    with (folder / "studio.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, **environment}, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}/"
            for _ in range(4 * WAIT):
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.25)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT)


@contextmanager
def browser(language: str = "zh-TW", size: str = "desktop") -> Iterator[Any]:
    """A page of Chromium that speaks `language`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chrome = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        wide, high = SIZES[size]
        yield chrome.new_page(
            locale=language, viewport={"width": wide, "height": high}, has_touch=size == "phone"
        )
        chrome.close()


class Walk:
    """A person at the page: clicks, waits, looks. Counts clicks; keeps pictures under `shots`."""

    def __init__(self, page: Any, address: str, shots: Path | None = None) -> None:
        self.page, self.shots = page, shots
        self.clicks, self.pictures = 0, 0
        self.elsewhere: list[str] = []
        self.faults: list[str] = []
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.address = address
        page.set_default_timeout(WAIT * 1000)
        page.goto(address)
        self.see("#file_sample")
        page.wait_for_timeout(1500)  # the page has asked where things stand

    def _asked(self, request: Any) -> None:
        local = (self.address, "data:", "blob:", "about:")
        if not request.url.startswith(local):
            self.elsewhere.append(request.url)

    def click(self, where: str, seconds: float = WAIT) -> None:
        """One click of the person's."""
        self.see(where, seconds)
        self.page.click(where)
        self.clicks += 1

    def see(self, where: str, seconds: float = WAIT) -> None:
        """Waits until it is there to be seen."""
        self.page.wait_for_selector(where, state="visible", timeout=seconds * 1000)

    def text(self, where: str) -> str:
        """What it says."""
        return str(self.page.inner_text(where))

    def value(self, where: str) -> str:
        """What stands in a box."""
        self.see(where)
        return str(self.page.input_value(where))

    def report(self) -> str:
        """What the exam's report says, in its frame."""
        frame = self.page.frame_locator("#report iframe")
        frame.locator("table").first.wait_for()
        return str(frame.locator("body").inner_text())

    def upload(self, file: Path) -> None:
        """Puts a file in: one click, and the choice in the system's own window."""
        self.page.set_input_files("#upload input[type=file]", file)
        self.clicks += 1

    def picture(self, name: str, whole: bool = True) -> None:
        """Keeps a picture of the whole page, or of what is seen of it."""
        if self.shots is not None:
            self.pictures += 1
            self.shots.mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(700)  # what slides has arrived
            path = self.shots / f"{self.pictures:02}-{name}.png"
            self.page.screenshot(path=path, full_page=whole)

    def say(self, where: str, text: str) -> None:
        """Types into a box."""
        self.see(f"{where} textarea, {where} input")
        self.page.fill(f"{where} textarea, {where} input", text)

    def write(self, cell: str, text: str) -> None:
        """Types into a table's cell, as soon as it shows a cursor: Gradio opens it some time
        after the double click (60 ms on two cores), and what is typed before is lost."""
        self.page.dblclick(cell)
        self.see(f"{cell} textarea:focus")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        self.see(f"{cell}:has-text('{text}')")
        self.clicks += 1

    # --- the steps -------------------------------------------------------------------

    def to_plan(self, file: Path | None = None) -> None:
        """From a file, or the sample, to the plan."""
        self.picture("start")
        if file is None:
            self.click("#file_sample")
        else:
            self.upload(file)
        self.see("#table_next")
        self.see("#findings .k-say")
        self.picture("findings")
        self.click("#table_next")
        self.see("#word_accept")
        self.picture("wordings")
        self.click("#word_accept")
        self.see("#plan .k-card")
        self.picture("plan")

    def to_report(self, seconds: float = 1800, halt: bool = False) -> None:
        """From the plan through training and exam to the report; with `halt` the training is
        stopped, the page opened anew, and the training taken up again."""
        self.click("#plan_start")
        self.see("#live .k-bar", seconds)
        self.picture("training")
        if halt:
            self.click("#train_stop")
            self.see("#train_resume", seconds)
            self.picture("stopped")
            self.page.goto(self.address)
            self.click("#train_resume", seconds)
            self.see("#train_stop", seconds)
        self.see("#train_exam", seconds)
        self.picture("trained")
        self.click("#train_exam")
        self.see("#exam .k-say")
        self.page.wait_for_timeout(3000)
        self.picture("examining")
        self.see("#report iframe", seconds)
        self.report()
        # A frame of another origin is painted only where it is seen.
        self.page.locator("#report iframe").scroll_into_view_if_needed()
        self.picture("report", whole=False)

    def to_the_end(self, question: str, seconds: float = 1800) -> None:
        """Two versions side by side, chat, release, export."""
        self.click("#exam_next")
        self.say("#ask-both", question)
        self.click("#two_ask")
        self.see("#answers .k-two", seconds)
        self.picture("blind")
        self.click("#votes label >> nth=1")  # the same
        self.see("#answers .k-good")
        self.click("#two_exam")
        self.see("#difference .k-say")
        self.picture("compared")
        self.click("#two_next")
        self.say("#asked", question)
        self.click("#chat_send")
        self.see("#chat .k-tag", seconds)
        self.picture("chat")
        self.click("#chat_next")
        self.click("#live_release")
        self.page.wait_for_timeout(2000)
        self.picture("gate")
        for close in self.page.query_selector_all(".toast-close"):
            close.click()
        self.click("#live_export")
        self.see("#get", seconds)
        self.picture("packed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faq", type=Path, help="A file; without it the sample is taken.")
    parser.add_argument("--base", default="auto")
    parser.add_argument("--language", default="zh-TW", choices=["zh-TW", "en"])
    parser.add_argument("--phone", action="store_true")
    parser.add_argument("--question", default="買錯了可以退嗎？")
    parser.add_argument("--thorough", default="quick", choices=["quick", "normal", "thorough"])
    parser.add_argument("--demo", action="store_true", help="Begin where `kefu demo` ends.")
    parser.add_argument("--halt", action="store_true", help="Stop the training and resume it.")
    asked = parser.parse_args()
    size = "phone" if asked.phone else "desktop"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "kefu.toml").write_text(
            f'base = "{asked.base}"\nthorough = "{asked.thorough}"\n', encoding="utf-8"
        )
        if asked.demo:
            demo = [sys.executable, "-m", "kefu", "demo", "--folder", str(folder)]
            subprocess.run(demo, check=True, stdout=subprocess.DEVNULL)
        with studio(folder) as address, browser(asked.language, size) as page:
            walk = Walk(page, address, SHOTS / f"{asked.language}-{size}")
            begun = time.time()
            walk.to_plan(asked.faq and asked.faq.resolve())
            walk.to_report(halt=asked.halt)
            print(f"clicks from the file to the report: {walk.clicks}")
            print(f"seconds: {time.time() - begun:.0f}")
            if not asked.halt and walk.clicks > MOST_CLICKS:
                raise SystemExit(f"That is more than {MOST_CLICKS}.")
            walk.to_the_end(asked.question)
            print(f"clicks to the packed bot: {walk.clicks}")
            print(f"addresses asked for elsewhere: {walk.elsewhere or 'none'}")
            print(f"faults in the page: {walk.faults or 'none'}")
    print(f"pictures: {SHOTS / f'{asked.language}-{size}'}")


if __name__ == "__main__":
    main()
