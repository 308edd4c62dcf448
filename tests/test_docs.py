"""What the documents say is so: links lead somewhere, commands exist, drawings are true."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from kefu import show
from kefu.cli import cli
from kefu.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "kefu"
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *GUIDES])
TOLD = [ROOT / "README.md", ROOT / "README.zh-TW.md", ROOT / "docs" / "index.md", *GUIDES]
"""Pages whose `kefu …` lines a reader will type."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tool(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / name))


# --- pages that are made -------------------------------------------------------


def test_the_command_reference_is_what_the_commands_say_of_themselves() -> None:
    assert read("docs/commands.md") == tool("make_commands.py")["text"](), "run `make docs`"


def test_the_command_reference_names_every_command_and_every_option() -> None:
    told = read("docs/commands.md")
    for name, command in cli.commands.items():
        section = told.partition(f"\n## kefu {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert all(o in section for o in option.opts), (name, option.opts)


def test_the_picture_shows_the_captured_text() -> None:
    picture = tool("make_picture.py")["picture"]
    text = read("docs/demo.txt")
    assert read("docs/demo.svg") == picture(text), "run `python docs/make_picture.py`"


def test_a_picture_gives_chinese_two_columns_and_says_what_it_leaves_out() -> None:
    picture = tool("make_picture.py")["picture"]
    steps = "\n".join(f"step {i}/99 loss=1" for i in range(1, 100))
    drawn = picture(f"$ make demo\n問 保固<多久>\n{steps}\n")
    found = re.findall(r'textLength="([\d.]+)">([^<]*)<', drawn)
    lengths = {text: float(length) for length, text in found}
    assert lengths["step"] / 4 == pytest.approx(lengths["問"] / 2)
    assert "&lt;" in drawn and "<title>make demo</title>" in drawn
    assert "step" in drawn and drawn.count(">step<") < 20 and "more" in drawn


# --- links and commands ----------------------------------------------------------


def _links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        yield target[0] or target[1]


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in _links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(h) for h in headings}, f"{page.name}: {link}"


def _told_commands() -> Iterator[tuple[str, str]]:
    for page in TOLD:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`(kefu [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in lines:
            for part in re.split(r"&&|\|(?!\|)", line.removeprefix("$ ").partition("  #")[0]):
                if part.strip().startswith("kefu "):
                    yield page.name, part.strip()


def _check(line: str) -> None:
    """Raises click's error where the line would not be understood. Runs nothing."""
    with click.Context(cli) as ctx:
        _, rest, _ = cli.make_parser(ctx).parse_args(shlex.split(line)[1:])
        if not rest:
            return
        command = cli.get_command(ctx, rest[0])
        assert command is not None, f"there is no command {rest[0]!r}"
        command.make_context(rest[0], rest[1:], parent=ctx)


def test_every_command_that_a_page_tells_is_understood_by_kefu() -> None:
    told = list(_told_commands())
    assert {page for page, _ in told} == {page.name for page in TOLD}
    for page, line in told:
        try:
            _check(line)
        except (click.ClickException, AssertionError) as error:
            pytest.fail(f"{page}: `{line}`: {error}")


@pytest.mark.parametrize("line", ["kefu teach shop.csv", "kefu train --epochs 3", "kefu compare a"])
def test_a_command_that_does_not_exist_would_be_noticed(line: str) -> None:
    with pytest.raises((click.ClickException, AssertionError)):
        _check(line)


def test_the_two_readmes_tell_the_same_commands_and_make_targets_exist() -> None:
    told: dict[str, list[str]] = {}
    for page, line in _told_commands():
        told.setdefault(page, []).append(line.split("#")[0].split('"')[0].strip())
    assert told["README.md"] == told["README.zh-TW.md"]
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    for name in ("README.md", "README.zh-TW.md", "CONTRIBUTING.md"):
        made = set(re.findall(r"\bmake ([a-z]+)(?=[`\s]*(?:#|`|\n))", read(name)))
        assert made and made <= targets, name


# --- lists that must be whole ------------------------------------------------------


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[<>=\[ ]", one)[0] for one in wanted}
    told = set(re.findall(r"^\| `([\w.-]+)`", read("docs/dependencies.md"), re.MULTILINE))
    assert names == told


def _error_kinds() -> dict[str, str]:
    """Every class of kefu's errors, and the one that a reader sees: its nearest public ancestor."""
    classes = {
        node.name: [b.id for b in node.bases if isinstance(b, ast.Name)]
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    kinds = {"KefuError": "KefuError"}
    while more := {
        name: name if not name.startswith("_") else kinds[base]
        for name, bases in classes.items()
        for base in bases
        if name not in kinds and base in kinds
    }:
        kinds |= more
    return kinds


def _template(node: ast.expr) -> str:
    """The words of a message in the code, with `…` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return "…"


def _messages() -> Iterator[tuple[str, str, str]]:
    """(kind, words, place) of every error that the code can raise with words of its own."""
    kinds = _error_kinds()
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                words = _template(node.args[0])
                if name in kinds and words.strip("… .:`"):
                    yield kinds[name], words, f"{path.relative_to(ROOT)}:{node.lineno}"


def _told_messages(page: str) -> dict[str, list[str]]:
    """What each part of the troubleshooting guide has in its first column, piece by piece.

    A piece in italics describes a message that has no words of its own."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", read(page), flags=re.MULTILINE)[1:]:
        cells = re.findall(r"^\| (.+?) \|", part, re.MULTILINE)[2:]
        found[part.split("\n")[0]] = [
            piece for cell in cells for piece in cell.split(" · ") if piece[0] != "*"
        ]
    return found


def _tells(piece: str, words: str) -> bool:
    return bool(re.search(".*".join(re.escape(p) for p in piece.split("…")), words, re.DOTALL))


TROUBLE = ("docs/guides/troubleshooting.md", "docs/guides/troubleshooting.zh-TW.md")


@pytest.mark.slow
def test_every_error_that_kefu_can_raise_has_its_row_under_its_heading() -> None:
    told = _told_messages(TROUBLE[0])
    assert told == _told_messages(TROUBLE[1])
    assert set(_error_kinds().values()) <= set(told)
    lacking = [
        f"{place} {kind}: {words}"
        for kind, words, place in _messages()
        if not any(_tells(piece, words) for piece in told[kind])
    ]
    assert lacking == [], f"write a row for these into {' and '.join(TROUBLE)}"


@pytest.mark.slow
def test_a_row_of_the_troubleshooting_guide_belongs_to_some_message() -> None:
    words = list(_messages())
    for kind, pieces in _told_messages(TROUBLE[0]).items():
        mine = [w for k, w, _ in words if k == kind]
        for piece in pieces:
            assert any(_tells(piece, w) for w in mine), f"{kind}: nothing says {piece!r}"


def test_a_message_leads_to_a_heading_in_the_reader_s_language(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Inner(RunError):
        pass

    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    for tongue, page in (("en_US.UTF-8", TROUBLE[0]), ("zh_TW.UTF-8", TROUBLE[1])):
        monkeypatch.setenv("LANG", tongue)
        show.error("A fault.", "A remedy.", _Inner("A fault.", "A remedy.").anchor)
        link = capsys.readouterr().err.rpartition("more: ")[2].strip()
        assert link == f"{page}#runerror"
        assert "\n## RunError\n" in read(page)


def test_every_guide_has_its_twin_of_the_same_build() -> None:
    names = {p.name for p in GUIDES}
    english = {n for n in names if not n.endswith(".zh-TW.md")}
    assert {n.replace(".md", ".zh-TW.md") for n in english} == names - english
    for name in english:
        one, other = (
            (ROOT / "docs" / "guides" / n).read_text(encoding="utf-8")
            for n in (name, name.replace(".md", ".zh-TW.md"))
        )
        assert one.count("\n## ") == other.count("\n## "), name
        assert sorted(re.findall(r"\d+\.\d+ %", one)) == sorted(re.findall(r"\d+\.\d+ %", other))
        commands = [re.findall(r"`(kefu [a-z]+)", text) for text in (one, other)]
        assert sorted(commands[0]) == sorted(commands[1]), name


# --- the rooms -----------------------------------------------------------------------


def _drawing() -> list[set[str]]:
    """The rooms of CONTRIBUTING's drawing, the highest line first."""
    block = read("CONTRIBUTING.md").partition("```rooms\n")[2].partition("```")[0]
    lines = [line.partition("  ")[0] if "  " in line else line for line in block.splitlines()]
    return [set(re.findall(r"[a-z]+", line)) for line in lines if re.search(r"[a-z]", line)]


def _imports() -> Iterator[tuple[str, str, Path]]:
    rooms = {p.name.removesuffix(".py") for p in SOURCE.iterdir()}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).parts
        room = parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level != len(parts):
                continue
            names = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
            yield from ((room, name, path) for name in names if name in rooms)


@pytest.mark.slow
def test_imports_go_down_only_as_the_drawing_says() -> None:
    drawing = _drawing()
    height = {room: i for i, line in enumerate(drawing) for room in line}
    assert len(height) == sum(map(len, drawing)) > 15
    here = {p.name.removesuffix(".py") for p in SOURCE.iterdir() if not p.name.startswith("_")}
    here -= {"templates", "py.typed"}
    assert here <= set(height), f"not in the drawing of CONTRIBUTING.md: {here - set(height)}"
    for room, other, path in _imports():
        if room.startswith("_") or room == other:
            continue
        assert height[room] < height[other], f"{path.relative_to(ROOT)} imports {other}"
