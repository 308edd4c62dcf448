"""Ollama gets the trained prompt in its own template language; the hub gets the card."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import export_runs as tiny
from kefu.errors import BaseError, KefuError, SettingsError
from kefu.export import export, ollama
from kefu.export.hub import HubError
from kefu.export.source import open_run
from kefu.workspace import RunFolder

Messages = list[dict[str, str]]
ASKED = {"role": "user", "content": '在哪？ "Where"?'}
TOLD = {"role": "assistant", "content": "這裡。\nHere."}
RULE = {"role": "system", "content": "Be kind."}
TALKS: list[Messages] = [
    [ASKED],
    [ASKED, TOLD, ASKED],
    [RULE, ASKED],
    [RULE, ASKED, TOLD, ASKED, TOLD, ASKED],
]
GO = """package main
import ("encoding/json"; "os"; "text/template")
type M struct { Role, Content string }
func main() {
    text, _ := os.ReadFile(os.Args[1])
    var talks [][]M
    if err := json.NewDecoder(os.Stdin).Decode(&talks); err != nil { panic(err) }
    made := template.Must(template.New("t").Parse(string(text)))
    for _, talk := range talks {
        var one writer
        if err := made.Execute(&one, map[string]any{"Messages": talk}); err != nil { panic(err) }
        json.NewEncoder(os.Stdout).Encode(string(one))
    }
}
type writer []byte
func (w *writer) Write(p []byte) (int, error) { *w = append(*w, p...); return len(p), nil }
"""


def go(template: str, messages: Messages) -> str:
    """Go's text/template, as far as a Modelfile of kefu's uses it."""
    assert not re.sub(r"\s*\{\{- .*? \}\}", "", template, flags=re.DOTALL), "stray text is said"
    steps = re.findall(r"\{\{- (.*?) \}\}", template, re.DOTALL)

    def block(i: int) -> tuple[list[Any], int]:
        body: list[Any] = []
        while i < len(steps):
            step = steps[i]
            if step == "end" or step.startswith("else"):
                return body, i
            if step.startswith("if "):
                arms = [(step[3:], *block(i + 1))]
                i = arms[-1][2]
                while steps[i].startswith("else"):
                    arms.append((steps[i][5:].removeprefix("if "), *block(i + 1)))
                    i = arms[-1][2]
                body.append([(condition, inner) for condition, inner, _ in arms])
            else:
                body.append(step)
            i += 1
        return body, i

    def holds(condition: str, i: int, role: str) -> bool:
        if not condition:
            return True
        _, left, right = condition.split()
        return role == json.loads(right) if left == "$m.Role" else i == int(right)

    def run(body: list[Any], i: int, message: dict[str, str]) -> str:
        out = ""
        for part in body:
            if isinstance(part, list):
                taken = [b for c, b in part if holds(c, i, message["role"])]
                out += run(taken[0], i, message) if taken else ""
            else:
                out += message["content"] if part == "$m.Content" else json.loads(part)
        return out

    assert steps[0] == "range $i, $m := .Messages"
    body, end = block(1)
    said = "".join(run(body, i, message) for i, message in enumerate(messages))
    return said + "".join(json.loads(part) for part in steps[end + 1 :])


@pytest.fixture(
    scope="module", params=["plain", "instruction", "chat", "persona"], ids=lambda name: name
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp(request.param)
    chat = request.param == "chat"
    base = tiny.base(root / "base", "qwen3", chat=chat)
    persona = 'Say "hello"\\now.' if request.param == "persona" else ""
    template = request.param if request.param in {"chat", "instruction"} else "plain"
    recipe = {"recipe": "tutorial"} if template == "instruction" else {}
    return tiny.run(root / "Shop-1", base, template=template, persona=persona, **recipe)


def test_ollama_writes_the_prompt_that_was_trained(run: RunFolder, tmp_path: Path) -> None:
    export(run, "ollama", tmp_path / "out", types=("f16",))
    text = (tmp_path / "out" / "Modelfile").read_text(encoding="utf-8")
    said = dict(re.findall(r'^([A-Z]+) """(.*?)"""$', text, re.DOTALL | re.MULTILINE))
    words = open_run(run).prompt.tokenizer
    for talk in TALKS:
        meant = words.apply_chat_template(
            talk,
            tokenize=False,
            add_generation_prompt=True,
            chat_template=(open_run(run).chat_template),
        )
        assert go(said["TEMPLATE"], talk) == meant
    assert "FROM ./Shop-1-f16.gguf\n" in text and (tmp_path / "out" / "Shop-1-f16.gguf").is_file()
    end = words.convert_ids_to_tokens(open_run(run).prompt.terminator)
    assert f'PARAMETER stop "{end}"\n' in text
    assert "PARAMETER temperature 0\n" in text and "PARAMETER repeat_penalty 1\n" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="needs the Go toolchain (go) on PATH")
def test_go_itself_writes_the_prompt_that_was_trained(run: RunFolder, tmp_path: Path) -> None:
    source = open_run(run)
    (tmp_path / "main.go").write_text(GO)
    (tmp_path / "t").write_text(ollama.pieces(source).go(), encoding="utf-8")
    cache = tmp_path.parent / "go-cache"
    out = subprocess.run(
        ["go", "run", "main.go", "t"],
        input=json.dumps([[{k.title(): v for k, v in m.items()} for m in t] for t in TALKS]),
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "GOCACHE": str(cache), "GO111MODULE": "off"},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    meant = [
        source.prompt.tokenizer.apply_chat_template(
            t, tokenize=False, add_generation_prompt=True, chat_template=source.chat_template
        )
        for t in TALKS
    ]
    assert [json.loads(line) for line in out.stdout.splitlines()] == meant


def test_a_template_that_ollama_cannot_have_is_refused(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", "qwen2", chat=True)
    run = tiny.run(tmp_path / "run", base, template="chat")
    odd = "{{ messages | length }}" + tiny.CHATML
    (run.adapter / "chat_template.jinja").write_text(odd)
    with pytest.raises(BaseError, match="no equal in Ollama"):
        export(run, "ollama", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@contextmanager
def fake_hub(status: int = 200) -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """A model hub on loopback: its address, the files that it got, and what was asked."""
    files: dict[str, bytes] = {}
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def say(self, data: object, code: int = 200) -> None:
            body = json.dumps(data).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.say({})

        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            self.say({"id": "shop/bot", "sha": "0" * 40, "siblings": []}, status)

        def do_POST(self) -> None:
            held = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"POST {self.path} {held[:200]!r}")
            here = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            if status != 200:
                self.say({"error": "no"}, status)
            elif "/preupload/" in self.path:
                sizes = json.loads(held)["files"]
                modes = [
                    {
                        "path": f["path"],
                        "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for f in sizes
                ]
                self.say({"files": modes})
            elif self.path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**o, "actions": {"upload": {"href": f"{here}/put/{o['oid']}"}}}
                    for o in json.loads(held)["objects"]
                ]
                self.say({"transfer": "basic", "objects": objects})
            elif "/commit/" in self.path:
                for line in held.splitlines():
                    value = json.loads(line)
                    if value["key"] == "file":
                        content = base64.b64decode(value["value"]["content"])
                        files[value["value"]["path"]] = content
                    elif value["key"] == "lfsFile":
                        files[value["value"]["path"]] = files[f"/put/{value['value']['oid']}"]
                self.say({"commitUrl": f"{here}/shop/bot/commit/1", "commitOid": "1" * 40,
                          "success": True})  # fmt: skip
            elif self.path == "/api/repos/create":
                self.say({"url": f"{here}/shop/bot", "id": "shop/bot", "name": "shop/bot"})
            else:
                self.say({"errors": [], "warnings": []})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", files, asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("hub")
    return tiny.run(root / "shop-1", tiny.base(root / "base", "llama"))


@pytest.fixture(autouse=True)
def no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's newer transfer protocol needs a server that no test can play."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def test_a_hub_gets_the_adapter_with_its_card(shop: RunFolder, tmp_path: Path) -> None:
    with fake_hub() as (address, files, asked):
        options = {"repo": "shop/bot", "endpoint": address, "token": "hf_test"}
        done = export(shop, "hub", tmp_path / "kept", **options)
    held = {name: body for name, body in files.items() if not name.startswith("/put/")}
    kept = {p.name: p.read_bytes() for p in (tmp_path / "kept").iterdir()}
    assert "export.json" in kept and "export.json" not in held
    assert held == {name: body for name, body in kept.items() if name != "export.json"}
    assert {"README.md", "adapter_model.safetensors", "chat_template.jinja"} <= set(held)
    assert "private" in next(a for a in asked if "/api/repos/create" in a)
    assert any("Pushed to" in note for note in done.notes)


@pytest.mark.parametrize("status", [401, 503])
def test_a_hub_that_refuses_is_said_plainly(shop: RunFolder, tmp_path: Path, status: int) -> None:
    with fake_hub(status) as (address, files, _), pytest.raises(HubError) as caught:
        export(shop, "hub", tmp_path / "kept", repo="shop/bot", endpoint=address, token="hf_test")
    assert isinstance(caught.value, KefuError)
    assert ("hf auth login" in caught.value.fix) == (status == 401)
    assert not files and list(tmp_path.iterdir()) == []


def test_a_hub_wants_a_name(shop: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name of a repository"):
        export(shop, "hub", tmp_path / "kept", repo="bot")
    with pytest.raises(SettingsError, match="is not pushed"):
        export(shop, "hub", tmp_path / "kept", repo="shop/bot", what="zip")
    assert list(tmp_path.iterdir()) == []
