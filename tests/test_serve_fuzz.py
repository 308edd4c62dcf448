"""What machines and ill-wishers send: no server error, and nothing but text in the browser."""

from __future__ import annotations

import random
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from shop_server import CHAT, XSS, Server

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def test_the_description_holds_under_schemathesis(server: Server) -> None:
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
        assert page.title() == "客服"
        assert page.locator("#said img, #said script").count() == 0
        assert XSS in page.locator(".own").inner_text()
        assert XSS in page.locator(".bot").last.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.get_by_role("button", name="English").click()
        assert page.get_by_label("Your question").is_visible()
        browser.close()
    assert [r[4] for r in server.rows() if r[1] == XSS] == ["down"]


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_the_widget_opens_on_a_named_site_only_and_hands_on_its_key(
    server: Server, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    script = f'<body><script src="{server.url}/widget.js" data-lang="en" data-key="kefu-abc">'
    (tmp_path / "shop.html").write_text(script + "</script>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    at = ("127.0.0.1", server.site)
    with ThreadingHTTPServer(at, handler) as shop, sync_playwright() as play:
        Thread(target=shop.serve_forever, daemon=True).start()
        named, other = (f"http://{name}:{server.site}" for name in ("127.0.0.1", "localhost"))
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown, keys = {}, []
        for site in (named, other):
            page = browser.new_page()
            page.on("request", lambda r: keys.append(r.headers.get("authorization")))
            page.goto(f"{site}/shop.html")
            page.get_by_role("button", name="Chat", exact=True).click(timeout=5000)
            page.wait_for_timeout(700)
            frame = page.frame_locator("iframe")
            box = frame.get_by_label("Your question")
            shown[site] = box.count() == 1
            if shown[site]:
                box.fill("運費多少？")
                box.press("Enter")
                frame.get_by_text(XSS).wait_for(timeout=5000)
        browser.close()
        shop.shutdown()
    assert shown == {named: True, other: False}
    assert "Bearer kefu-abc" in keys
