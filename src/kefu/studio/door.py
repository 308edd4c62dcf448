"""The studio as an ASGI app: one page a language, and who may come in.

Without a password only this machine's own browser is served, under this machine's own names, so
that no page elsewhere can reach it. Nothing is fetched from other machines.
"""

from __future__ import annotations

import base64
import hmac
import os
import shutil
from importlib.resources import files
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from ..background import FOLDER
from ..serve import Guard
from ..workspace import Workspace
from .page import Page
from .steps import lay_out
from .words import LANGUAGES, Say, preferred

LARGEST = 20 * 1024 * 1024
"""Bytes of an upload."""
FRAME = 64 * 1024
"""Bytes that a browser sends around a file."""
SECONDS = 600.0
"""How long an upload may take."""
ASK = {"WWW-Authenticate": 'Basic realm="kefu studio", charset="UTF-8"'}
FULL = "磁碟滿了，請先清出空間。The disk is full: free some space first."
FONTS = ("system-ui", "Noto Sans TC", "Noto Sans CJK TC", "Microsoft JhengHei", "sans-serif")
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; frame-ancestors 'none'"
)


def app(workspace: Workspace, password: str = "") -> Any:
    """The studio of a workspace. With `password` it may listen on other addresses too.

    Uploads go to the workspace's folder `.studio` and are removed once they were read.
    """
    uploads = workspace.root / FOLDER / "uploads"
    shutil.rmtree(uploads, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    theme = gr.themes.Soft(primary_hue="teal", font=FONTS, radius_size="lg", text_size="lg")
    css = (files(__package__) / "data" / "studio.css").read_text("utf-8")
    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @made.middleware("http")
    async def guard(request: Request, go_on: Any) -> Response:
        answer: Response = PlainTextResponse("A password is needed.", 401, ASK)
        if _knows(request, password):
            answer = await go_on(request)
        if answer.status_code == 500 and shutil.disk_usage(workspace.root).free < LARGEST:
            answer = PlainTextResponse(FULL, 507)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    most = LARGEST + FRAME
    made.add_middleware(Guard, size=most, seconds=SECONDS, origins=(), local=not password)

    @made.get("/")
    def root(request: Request) -> Response:
        language = preferred(request.headers.get("accept-language", ""))
        return RedirectResponse(f"/{language}/")

    for language in LANGUAGES:
        with gr.Blocks(analytics_enabled=False, title=Say(language)("title")) as page:
            lay_out(Page(workspace, language, page.load))
        gr.mount_gradio_app(
            made, page, f"/{language}", max_file_size=LARGEST, ssr_mode=False, footer_links=[],
            allowed_paths=[str(workspace.root / "exports")], theme=theme, css=css,
        )  # fmt: skip
    return made


def _knows(request: Request, password: str) -> bool:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(value).decode().partition(":")[2] if kind == "Basic" else ""
    except ValueError:
        given = ""
    return not password or hmac.compare_digest(given.encode(), password.encode())
