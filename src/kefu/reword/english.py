"""How an English question becomes another wording: frames, words, manners, QWERTY slips.

What a sentence means is not known here; only its question words and listed words are.
"""

from __future__ import annotations

import random
import re
from functools import cache

from . import frames
from .registry import Draft, Generator, Rule, lines, make, on_side, pick
from .scenes import Scenes

FAMILIES = (
    "scene",
    "frame",
    "keyword",
    "contraction",
    "word",
    "opening",
    "closing",
    "typing",
    "case",
    "punctuation",
)
SCENES = 0.5
"""How often a row with scenes is asked with one."""
_END = re.compile(r"[\s?.!]+$")
_LEAD = re.compile(r"^(?:hi|hello|please|excuse me|hey)[,!. ]+", re.I)
_ASKS = re.compile(
    r"(?:^|[,:;?.] (?:so |and |but )?)(?:how|what|when|where|which|who|why|whose|any|can|could|do"
    r"|does|did|is|are|am|will|would|may|might|should|shall|has|have you|must|by when|in how)\b",
    re.I,
)
_GREETS = re.compile(r"(?:Hi|Hello|Hey|Good)\b")
_POLITE = re.compile(r"\bplease\b|^could you|^hi\b|tell me", re.I)
_STOP = frozenset(
    """a an the i my me we our you your do does did is are was be been can could may might will
    would shall should to of for in on at it its that this there how what when where which who
    why if have has had get any some with from by and or need want am about long much many way
    s t re ve guys i'm i'd there's it's that's think would've""".split()  # noqa: SIM905 (readable as prose)
)
_NEAR = {
    "q": "wa", "w": "qe", "e": "wr", "r": "et", "t": "ry", "y": "tu", "u": "yi", "i": "uo",
    "o": "ip", "p": "o", "a": "s", "s": "ad", "d": "sf", "f": "dg", "g": "fh", "h": "gj",
    "j": "hk", "k": "jl", "l": "k", "z": "x", "x": "zc", "c": "xv", "v": "cb", "b": "vn",
    "n": "bm", "m": "n",
}  # fmt: skip
_SLIPS: dict[Generator, tuple[Rule[str], ...]] = {
    "train": (
        Rule("typing:letters swapped", "swap", "train"),
        Rule("typing:letter left out", "drop", "train"),
    ),
    "exam": (
        Rule("typing:neighbouring key", "near", "exam"),
        Rule("typing:letter doubled", "double", "exam"),
    ),
}
_CASE: dict[Generator, Rule[str]] = {
    "train": Rule("case:lower", "lower", "train"),
    "exam": Rule("case:first lower", "first", "exam"),
}
_MARK: dict[Generator, Rule[str]] = {
    "train": Rule("punctuation:en end dropped", "end", "train"),
    "exam": Rule("punctuation:en doubled", "double", "exam"),
}
_KEYWORD: dict[Generator, Rule[str]] = {
    "train": Rule("keyword:en", "plain", "train"),
    "exam": Rule("keyword:en question mark", "mark", "exam"),
}


@cache
def _groups() -> dict[str, tuple[Rule[str], ...]]:
    table: dict[str, list[Rule[str]]] = {}
    for line in lines("synonyms_en.txt"):
        group = [w.strip() for w in line.split("|")]
        for source in (w for w in group if not w.startswith(">")):
            for target in (w.lstrip(">") for w in group):
                if source != target:
                    rule = make("word", f"{source}>{target}", target, said=target)
                    table.setdefault(source, []).append(rule)
    return {source: tuple(found) for source, found in table.items()}


@cache
def _pattern() -> re.Pattern[str]:
    words = sorted(_groups(), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b", re.I)


@cache
def _shells(family: str) -> tuple[Rule[str], ...]:
    return tuple(make(family, line, line) for line in lines(f"{family}_en.txt"))


@cache
def _contractions() -> tuple[tuple[re.Pattern[str], Rule[str]], ...]:
    made = []
    for line in lines("contractions_en.txt"):
        full, _, short = (part.strip() for part in line.partition(">"))
        for source, target in ((full, short), (short, full)):
            rule = make("contraction", f"{source}>{target}", target, target)
            made.append((re.compile(rf"\b{re.escape(source)}\b", re.I), rule))
    return tuple(made)


def wording(
    base: str,
    row: int,
    rng: random.Random,
    allowed: frozenset[str],
    side: Generator,
    scenes: Scenes | None,
    used: set[str],
) -> Draft | None:
    """One new wording of `base`, or None where the dice found nothing."""
    text = _END.sub("", _LEAD.sub("", base.strip()))
    draft = Draft(text)
    offered = [rule for rule in (scenes.of(row) if scenes else []) if rule.name not in used]
    if offered and rng.random() < SCENES:
        rule = rng.choice(offered)
        return _finish(Draft(rule.payload, (rule.name,), True), rng, side, allowed)
    if "frame" in allowed and rng.random() < 0.6:
        framed = frames.frames(draft.text, side, "en")
        if framed:
            chosen = pick([rule for rule, _ in framed], rng, used)
            said = next(said for rule, said in framed if rule is chosen)
            draft = draft.after(said, chosen.name)
    if "keyword" in allowed and not draft.rules and rng.random() < 0.12:
        draft = _keywords(draft, side)
    if "word" in allowed and rng.random() < 0.7:
        for _ in range(rng.choice((1, 1, 2))):
            draft = _word(draft, rng, side)
    if "contraction" in allowed and rng.random() < 0.4:
        draft = _contract(draft, rng, side)
    if not draft.used("keyword"):
        if "opening" in allowed and rng.random() < 0.35:
            draft = _shell("opening", draft, rng, side)
        if "closing" in allowed and rng.random() < 0.12:
            draft = _shell("closing", draft, rng, side)
    if "typing" in allowed and (draft.rules or len(allowed) == 1) and rng.random() < 0.12:
        draft = _typing(draft, rng, side)
    if not draft.rules:
        return None
    return _finish(draft, rng, side, allowed)


def _finish(draft: Draft, rng: random.Random, side: Generator, allowed: frozenset[str]) -> Draft:
    text = draft.text[:1].upper() + draft.text[1:]
    whole = draft.used("keyword") or draft.used("closing") or text.endswith(("?", ".", "!"))
    if not whole and _ASKS.search(text):
        text += "?"
    draft = Draft(text, draft.rules, draft.scene)
    if "punctuation" in allowed and rng.random() < 0.3 and text.endswith("?"):
        rule = _MARK[side]
        draft = draft.after(_END.sub("", text) if rule.payload == "end" else f"{text}?", rule.name)
    if "case" in allowed and rng.random() < 0.35:
        rule, text = _CASE[side], draft.text
        lowered = _lower(text) if rule.payload == "lower" else text[:1].lower() + text[1:]
        if lowered != text:
            draft = draft.after(lowered, rule.name)
    return draft


def _lower(text: str) -> str:
    """In lower case but for words all in capitals (ATM, VISA)."""
    return re.sub(r"\b(?![A-Z0-9]{2,}\b)\w+", lambda m: m.group().lower(), text)


def _word(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    found = []
    for hit in _pattern().finditer(draft.text):
        rules = (
            on_side(_groups()[hit.group().lower()], side)
            if hit.group().lower() in _groups()
            else []
        )
        rules = [r for r in rules if r.payload not in draft.text.lower()]
        put_in = any(hit.group().lower() in name.rpartition(">")[2] for name in draft.rules)
        if rules and not put_in and not (hit.group()[0].isupper() and hit.start()):
            found.append((hit, rules))
    if not found:
        return draft
    hit, rules = rng.choice(found)
    rule = rng.choice(rules)
    said = rule.payload.capitalize() if hit.group()[0].isupper() else rule.payload
    text = draft.text[: hit.start()] + said + draft.text[hit.end() :]
    text = re.sub(r"\ba (?=[aeio])", "an ", re.sub(r"\ban (?=[^aeiouh\W])", "a ", text))
    return draft.after(text, rule.name)


def _contract(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    fit = [(p, r) for p, r in _contractions() if r.side == side and p.search(draft.text)]
    if not fit:
        return draft
    pattern, rule = rng.choice(fit)
    return draft.after(pattern.sub(rule.payload, draft.text, count=1), rule.name)


def _shell(family: str, draft: Draft, rng: random.Random, side: Generator) -> Draft:
    if _POLITE.search(draft.text):
        return draft
    fit = on_side(_shells(family), side)
    if not _ASKS.match(draft.text):  # a statement takes a greeting, and no announcement
        fit = [rule for rule in fit if _GREETS.match(rule.payload)]
    if not fit:
        return draft
    rule = rng.choice(fit)
    text = draft.text
    if not rule.payload.startswith("{}") and text[:1].isupper() and not text.startswith("I "):
        text = text[:1].lower() + text[1:]
    return draft.after(rule.payload.replace("{}", text), rule.name)


def _keywords(draft: Draft, side: Generator) -> Draft:
    words = re.findall(r"[A-Za-z0-9'-]+", draft.text)
    content = [w for w in words if w.lower() not in _STOP]
    if not 2 <= len(content) <= 6 or len(words) > 16:
        return draft
    text = " ".join(content)
    return draft.after(text if side == "train" else f"{text}?", _KEYWORD[side].name)


def _typing(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """One slip inside a word of five letters or more that holds no digit and no capital."""
    places = list(re.finditer(r"\b[a-z]{5,}\b", draft.text))
    if not places:
        return draft
    hit, rule = rng.choice(places), rng.choice(_SLIPS[side])
    word = hit.group()
    at = rng.randrange(1, len(word) - 2)
    typed = {
        "swap": word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        "drop": word[:at] + word[at + 1 :],
        "double": word[: at + 1] + word[at:],
        "near": word[:at] + rng.choice(_NEAR[word[at]]) + word[at + 1 :],
    }[rule.payload]
    if typed == word:
        return draft
    return draft.after(draft.text[: hit.start()] + typed + draft.text[hit.end() :], rule.name)


def rules() -> list[Rule[str]]:
    """Every rule of this file, of both sides."""
    made = [r for found in _groups().values() for r in found]
    made += [r for family in ("opening", "closing") for r in _shells(family)]
    made += [r for _, r in _contractions()] + [r for found in _SLIPS.values() for r in found]
    return [*made, *_CASE.values(), *_MARK.values(), *_KEYWORD.values()]
