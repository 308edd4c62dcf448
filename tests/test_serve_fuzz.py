"""What machines and ill-wishers send: no server error, and nothing but text in the browser. The
last test ends the strict server."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings

from shop_server import ASK, CHAT, XSS, Server, elsewhere

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def test_the_description_holds_under_schemathesis(server: Server) -> None:
    import schemathesis  # here: it takes seconds, which collecting the dry tests need not pay

    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")

    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def one(case: schemathesis.Case) -> None:
            assert case.call().status_code < 500

        one()
        count += 1
    assert count >= 6


def test_a_thousand_broken_requests_do_no_harm(server: Server) -> None:
    lot = random.Random(7)
    sound = b'{"messages": [{"role": "user", "content": "abc \\u904b"}], "stream": false}'
    with httpx.Client() as web:
        for _ in range(1000):
            body = bytearray(sound)
            for _ in range(lot.randint(1, 6)):
                at = lot.randrange(len(body))
                body[at : at + lot.randint(0, 3)] = lot.randbytes(lot.randint(0, 3))
            answer = web.post(server.url + CHAT, content=bytes(body))
            assert answer.status_code in (200, 400), bytes(body)
    assert httpx.get(f"{server.url}/ready").is_success


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_markup_is_shown_as_text_and_votes_arrive(server: Server, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 640}, locale="zh-TW")
        page.goto(f"{server.url}/")
        page.get_by_label("您的問題").fill(XSS)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="沒有幫助", exact=True).click()
        page.wait_for_selector("[aria-pressed=true]")
        assert page.locator(".away").count() == 0
        page.get_by_label("您的問題").fill("可以刷卡嗎？")
        page.keyboard.press("Enter")
        page.locator(".away").get_by_text("已轉交真人客服").wait_for()
        page.locator(".away").get_by_role("button", name="有幫助", exact=True).click()
        page.wait_for_selector(".away [aria-pressed=true]")
        page.get_by_role("button", name="運費多少？").click()  # what may have been meant
        page.locator(".own").get_by_text("運費多少？").wait_for()
        page.wait_for_selector(".bot:last-child .votes")
        assert page.title() == "客服"
        assert page.locator("#said img, #said script").count() == 0
        assert XSS in page.locator(".own").first.inner_text()
        assert XSS in page.locator(".bot").last.inner_text()
        # A screen reader is told whole answers, not the dots that stand there before.
        log = page.get_by_role("log")
        assert log.get_attribute("aria-relevant") in (None, "additions text")
        assert page.locator("[aria-busy]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.get_by_role("button", name="English").click()
        assert page.get_by_label("Your question").is_visible()
        browser.close()
    votes = {r[1]: r[4] for r in server.rows()}
    assert (votes[XSS], votes["可以刷卡嗎？"]) == ("down", "up")


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_the_chat_is_used_by_keyboard_alone(server: Server) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(locale="en-GB")
        page.goto(f"{server.url}/")
        page.wait_for_function("document.activeElement.id === 'question'")  # it has the focus
        page.keyboard.type("可以刷卡嗎？ by keyboard")
        page.keyboard.press("Enter")
        page.locator(".votes").wait_for()
        page.wait_for_function("document.activeElement.id === 'question'")
        names = []
        for _ in range(12):
            page.keyboard.press("Shift+Tab")
            names.append(page.evaluate("document.activeElement.textContent"))
            if names[-1] == "Helpful":
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("[aria-pressed=true]")
        assert names == ["Not helpful", "Helpful"], names
        unnamed = "[...document.querySelectorAll('button')].filter(b => !b.textContent.trim())"
        assert page.evaluate(f"{unnamed}.length") == 0
        browser.close()
    votes = {r[1]: r[4] for r in server.rows()}
    assert votes.get("可以刷卡嗎？ by keyboard") == "up", votes


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_the_widget_opens_on_a_named_site_only_and_hands_on_its_key(
    server: Server, strict: Server, tmp_path: Path
) -> None:
    from playwright.sync_api import TimeoutError, sync_playwright

    page_of = '<body><script src="{}/widget.js" data-lang="en" data-key="{}"></script>'
    (tmp_path / "shop.html").write_text(page_of.format(server.url, "kefu-abc"))
    for name, key in (("key.html", strict.key), ("guess.html", strict.key[:-1] + "?")):
        (tmp_path / name).write_text(page_of.format(strict.url, key))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    at = ("127.0.0.1", server.site)
    with ThreadingHTTPServer(at, handler) as shop, sync_playwright() as play:
        Thread(target=shop.serve_forever, daemon=True).start()
        named, other = (f"http://{name}:{server.site}" for name in ("127.0.0.1", "localhost"))
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = {}
        for site in (
            f"{named}/shop.html",
            f"{other}/shop.html",
            f"{named}/key.html",
            f"{named}/guess.html",
        ):
            page = browser.new_page()
            page.goto(site)
            page.get_by_role("button", name="Chat", exact=True).click(timeout=5000)
            frame = page.frame_locator("iframe")
            box = frame.get_by_label("Your question")
            page.keyboard.press("Escape")
            assert not page.locator("iframe").is_visible()
            page.keyboard.press("Enter")  # the button has kept the focus
            with suppress(TimeoutError):
                box.wait_for(timeout=2000)
            shown[site] = box.count() == 1
            if shown[site]:
                box.fill("運費多少？")
                box.press("Enter")
                if "guess" in site:
                    frame.get_by_text("A valid key is needed.").wait_for(timeout=9000)
                else:
                    frame.locator(".votes").wait_for(timeout=20000)
            page.close()
        browser.close()
        shop.shutdown()
    assert list(shown.values()) == [True, False, True, True]


def test_sigterm_lets_the_running_answers_end(strict: Server) -> None:
    other = elsewhere("127.0.0.2")
    engine = strict.engine
    with (
        ThreadPoolExecutor(6) as pool,
        httpx.Client(
            transport=other, headers={"Authorization": f"Bearer {strict.key}"}, timeout=30
        ) as web,
    ):
        os.kill(engine, signal.SIGSTOP)  # answers are surely still under way
        asked = [pool.submit(web.post, strict.url + CHAT, json=ASK) for _ in range(6)]
        time.sleep(0.7)
        strict.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        os.kill(engine, signal.SIGCONT)
        assert [a.result().status_code for a in asked] == [200] * 6
    strict.process.wait(timeout=20)
    assert not psutil.pid_exists(engine)
    said = (strict.root / "said.txt").read_text()
    assert "answers at" in said and strict.key not in said and "運費" not in said
