"""Other words for the same thing: synonyms, written against spoken, and mixed-in English.

Longest match first over one list of known words, so that 會員 is not seen in 委員會員工.
What a word means in its sentence is not known: only words safe in most are listed.
"""

from __future__ import annotations

import random
import re
from functools import cache, lru_cache

from .registry import Draft, Generator, Rule, lines, make, on_side


@cache
def groups() -> tuple[tuple[str, ...], ...]:
    """The synonym groups as listed: words apart by spaces; a leading > marks a word that may
    come in but is never taken out, a leading < one that is only taken out."""
    return tuple(tuple(line.split()) for line in lines("synonyms_zh.txt"))


@cache
def _synonyms() -> dict[str, tuple[Rule[str], ...]]:
    """Word -> rules that put another in its place."""
    table: dict[str, list[Rule[str]]] = {}
    for group in groups():
        sources = [w.lstrip("<") for w in group if not w.startswith(">")]
        targets = [w.lstrip(">") for w in group if not w.startswith("<")]
        for source in sources:
            for target in targets:
                if source != target:
                    rule = make("word", f"{source}>{target}", target, said=target)
                    table.setdefault(source, []).append(rule)
    return {source: tuple(found) for source, found in table.items()}


@cache
def _loose() -> frozenset[str]:
    """Words that may come in but not go out: looser ones, which do not fit into compounds."""
    return frozenset(word[1:] for group in groups() for word in group if word.startswith(">"))


@cache
def _register() -> tuple[tuple[re.Pattern[str], tuple[Rule[str], ...]], ...]:
    """`pattern => spoken | spoken`: written turns of phrase and what people say."""
    made = []
    for line in lines("register_zh.txt"):
        pattern, _, said = (part.strip() for part in line.partition("=>"))
        rules = tuple(
            make("register", f"{pattern}>{s.strip()}", s.strip(), s.strip())
            for s in said.split("|")
        )
        made.append((re.compile(pattern), rules))
    return tuple(made)


@cache
def _mixing() -> dict[str, tuple[Rule[str], ...]]:
    table = {}
    for line in lines("mixing_zh.txt"):
        source, _, said = (part.strip() for part in line.partition(">"))
        table[source] = tuple(
            make("mixing", f"{source}>{s.strip()}", s.strip(), s.strip()) for s in said.split("|")
        )
    return table


@cache
def _pattern(which: str) -> re.Pattern[str]:
    table = _synonyms() if which == "word" else _mixing()
    known = {*table, *lines("compounds_zh.txt")}
    return re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))))


def word(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """One or two words in exchange for others."""
    for _ in range(rng.choice((1, 1, 2))):
        draft = _exchange(draft, rng, side, "word", _synonyms())
    return draft


def mixing(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """One word in English, as people in Taiwan mix it in."""
    return _exchange(draft, rng, side, "mixing", _mixing())


def _exchange(
    draft: Draft,
    rng: random.Random,
    side: Generator,
    which: str,
    table: dict[str, tuple[Rule[str], ...]],
) -> Draft:
    quoted = [m.span() for m in re.finditer(r"[「『《〈“][^」』》〉”]*[」』》〉”]", draft.text)]
    found = []
    for hit in _pattern(which).finditer(draft.text):
        rules = on_side(table.get(hit.group(), ()), side)
        rules = [r for r in rules if r.payload not in draft.text and _fits(r.payload, hit)]
        put_in = any(hit.group() in name.rpartition(">")[2] for name in draft.rules)
        if rules and not put_in and not any(a <= hit.start() < b for a, b in quoted):
            found.append((hit, rules))
    if not found:
        return draft
    hit, rules = rng.choice(found)
    rule = rng.choice(rules)
    said = rule.payload
    if which == "mixing":
        return draft.after(
            _spaced(draft.text[: hit.start()], said, draft.text[hit.end() :]), rule.name
        )
    return draft.after(draft.text[: hit.start()] + said + draft.text[hit.end() :], rule.name)


_BEFORE = re.compile(
    r"(?:^|[\s，,、。？?！!：]|[的在到要想有可以個了哪這那會能幫把被請問後前你我們及和跟或若將須得])$"
)
_AFTER = re.compile(
    r"[\s，,、。？?！!：嗎ㄇ的要可會有怎多是在呢如何哪該能需什幾了不沒後前和跟或及，]|$"
)
_TAIL = re.compile(r"[表單費者員場處類版區站部科件券卡金率法冊款性化號權稅證所會展票期補戶圖]")


def _fits(said: str, hit: re.Match[str]) -> bool:
    """Whether a word may stand where `hit` stands: loose ones only between function words, and
    none where the next letter may make a compound of it (座位 in 座位表)."""
    after, before = hit.string[hit.end() :], hit.string[: hit.start()]
    if before[-1:] == said[0] or after[:1] == said[-1]:
        return False
    if said in _loose():
        return bool(_AFTER.match(after)) and bool(_BEFORE.search(before))
    return _TAIL.match(after) is None


def _spaced(before: str, said: str, after: str) -> str:
    """Some leave no space between the scripts; a Latin neighbour needs one."""
    left = " " if before[-1:].isascii() and before[-1:].isalnum() else ""
    right = " " if after[:1].isascii() and after[:1].isalnum() else ""
    return f"{before}{left}{said}{right}{after}"


@lru_cache(maxsize=4096)
def _turns(text: str, side: Generator) -> tuple[tuple[re.Pattern[str], list[Rule[str]]], ...]:
    """The turns of phrase that a text holds, with what may be said instead."""
    return tuple(
        (pattern, mine)
        for pattern, rules in _register()
        if (mine := on_side(rules, side)) and pattern.search(text)
    )


def register(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """Written turns of phrase as they are spoken, up to three of them."""
    found = list(_turns(draft.text, side))
    rng.shuffle(found)
    for pattern, mine in found[:3]:
        rule = rng.choice(mine)
        text = pattern.sub(rule.payload, draft.text, count=1)
        if text != draft.text:
            draft = draft.after(text, rule.name)
    return draft


def rules() -> list[Rule[str]]:
    """Every rule of this file, of both sides."""
    made = [rule for found in _synonyms().values() for rule in found]
    made += [rule for _, found in _register() for rule in found]
    return made + [rule for found in _mixing().values() for rule in found]
