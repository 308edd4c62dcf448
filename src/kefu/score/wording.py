"""Takes a text apart into clauses: its content, what is denied, and how its facts are bounded.

By word lists only (see `lexicon`): knows no grammar, and a denial reaches as far as a few words.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from .extraction import spans
from .folding import fold, pattern
from .lexicon import (
    BROKEN_UP,
    COURTESY,
    FACT,
    FILLING,
    FILLING_WORDS,
    KEPT,
    LEADS,
    NEGATION,
    NOT,
    PHRASES,
    Rival,
    rivals,
    synonyms,
)

Item = tuple[str, ...]
"""What a denial denies: the one or two words of content after it."""
COMMON = 24
"""So many clauses are compared with one, at most."""
REACH = 4
"""A denial surely reaches so many characters (or words) of content."""
_CLAUSE_END = re.compile(r"[,;。!?\n:]+|\.(?=\s|$)|\s-\s|(?<=.)(?=[但且](?!以))")
_TOKEN = re.compile(rf"{NOT}|{FACT}|[a-z0-9]+(?:'[a-z]+)?|[^\W_]|、")
_NOTS = pattern(r"[不未無没非勿莫免]|可以|[可能會得\s]")
_CAN = frozenset(fold("可以 可 能 會 得").text.split()) | {" ", "\n"}
_ASKS = pattern(r"請問|嗎|呢|是否|(?:可不|能不|會不|要不|有沒|是不)(?=[可能會要有是])|[?]")
_LABEL = re.compile(
    r"(?m)^([ \t]*(?:[-*•・]|\d{1,2}[.、)])?[ \t]*[^\n:\uff1a,\uff0c。;\uff1b]{1,20})"
    r"[:\uff1a][ \t]*(?=\S)"
)
_OR = pattern(r"或|擇一|任一")
_AND = pattern(r"[與和且]|及(?![格時])|並(?![非不未無])")
_LISTED = pattern(
    rf"(?<=、)[^、與和及或{FACT}]{{1,6}}(?=[、與和及或])"
    r"|(?<=[a-z] and )[a-z]+(?= (?:is|are|must|will) )"
)
"""One of a row: `、` before it, and another after it."""
_STOPS = frozenset(fold("也仍且但並而則就即才還").text)
"""After these a denial no longer holds."""
_BOUNDS = tuple(
    (pattern(before), pattern(after), bound)
    for before, after, bound in (
        (
            r"(?:至少|最少|最低|不少於|不低於|(?<![未不沒])(?<!沒有)滿|(?<![未不])超過|逾|高於|大於"
            r"|at least|more than|over|above"
            r"|minimum(?: of)?)\s?$",
            r"\s?(?:以上|起(?![床飛])|or (?:more|over|older|above))",
            ">",
        ),
        (
            r"(?:至多|最多|最高|最長|[未不]超過|[未不]滿|沒有?滿|少於|低於|小於"
            r"|不到|不足|up to|at most|less than|under|below"
            r"|within|maximum(?: of)?)\s?$",
            r"\s?(?:以下|以內|之內|內(?!容|部|湖)|or (?:less|under|below))",
            "<",
        ),
        (
            r"(?:before|by|prior to|提前|提早)\s?$",
            r"\s?(?:之前|以前|前(?!往|來|台|項|述))",
            "before",
        ),
        (r"(?:after|since|from)\s?$", r"\s?(?:之後|以後|後(?!台|續))", "after"),
        (r"(?!)", r"\s?(?:以外|之外|外(?!送|帶|幣|觀))", "outside"),
    )
)
_CLASH = {("<", ">"), ("before", "after"), ("<", "after"), ("<", "outside"), ("before", "outside")}


def clash(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two sets of bounds of one fact contradict each other."""
    return not one & other and any((a, b) in _CLASH or (b, a) in _CLASH for a in one for b in other)


@dataclass(frozen=True)
class Clause:
    """A stretch between two marks of punctuation."""

    raw: str
    """Folded, facts masked."""
    stated: tuple[tuple[str, ...], ...]
    """The facts, for each sign in `raw`."""
    bounds: dict[str, frozenset[str]]
    """Of a fact: `<`, `>`, `before`, `after`, `outside`."""
    before: dict[str, frozenset[str]]
    """Of a fact: the content that stands before it, as far as the fact before."""
    tokens: tuple[str, ...]
    """The content: characters and Latin words, in order."""
    states: tuple[bool | None, ...]
    """Of each token: True when denied, None when that cannot be said."""
    denied: frozenset[Item]
    denials: int

    @cached_property
    def facts(self) -> tuple[str, ...]:
        return tuple(fact for group in self.stated for fact in group)

    @cached_property
    def _rivals(self) -> tuple[tuple[int, str, tuple[Rival, ...]], ...]:
        return rivals(self.raw)

    @cached_property
    def rivals(self) -> Counter[Rival]:
        """The words that exclude others."""
        return Counter(r for _, _, found in self._rivals for r in found)

    @cached_property
    def attached(self) -> dict[Rival, tuple[str, ...]]:
        """Where a clause holds two rivals, and facts: the facts that follow each."""
        signs = [i for i, c in enumerate(self.raw) if c == FACT]
        found: dict[Rival, tuple[str, ...]] = {}
        for at, _, these in self._rivals:
            for rival in these:
                others = [i for i, _, rs in self._rivals for r in rs if r[0] == rival[0] and i > at]
                if (
                    self.rivals[rival] > 1
                    or sum(n for r, n in self.rivals.items() if r[0] == rival[0]) < 2
                ):
                    continue
                end = min(others, default=len(self.raw))
                found[rival] = tuple(
                    sorted(
                        f
                        for i, fs in zip(signs, self.stated, strict=True)
                        if at < i < end
                        for f in fs
                    )
                )
        return found

    @cached_property
    def grams(self) -> frozenset[Item]:
        """All tokens and pairs of neighbours."""
        return _grams(self.tokens)

    @cached_property
    def bald(self) -> str:
        """The clause without the letters that deny, and without 可 and 能, which go with them."""
        return _NOTS.sub("", self.raw)

    @cached_property
    def nots(self) -> int:
        return sum(len(hit) for hit in _NOTS.findall(self.raw) if hit not in _CAN)

    @cached_property
    def frame(self) -> frozenset[Item]:
        """`grams` without the words that exclude others: what stays when one is exchanged."""
        words = {word for _, word, _ in self._rivals}
        letters = {c for word in words for c in ([word] if word.isascii() else word)}
        return _grams(tuple(t for t in self.tokens if t not in letters))

    @cached_property
    def affirmed(self) -> frozenset[Item]:
        """What is said without denial: neighbours and single tokens."""
        said: set[Item] = set()
        for i, (token, state) in enumerate(zip(self.tokens, self.states, strict=True)):
            if state is False:
                said.add((token,))
                if i and self.states[i - 1] is False:
                    said.add((self.tokens[i - 1], token))
        return frozenset(said)


@dataclass(frozen=True)
class Wording:
    """A text in clauses. `lead`: True when it begins with yes, False with no, else None."""

    clauses: tuple[Clause, ...]
    lead: bool | None

    @cached_property
    def grams(self) -> frozenset[Item]:
        return frozenset(gram for clause in self.clauses for gram in clause.grams)

    @cached_property
    def denied(self) -> frozenset[Item]:
        """Neighbours that are surely denied somewhere."""
        return frozenset(
            (c.tokens[i], c.tokens[i + 1])
            for c in self.clauses
            for i in range(len(c.tokens) - 1)
            if c.states[i] and c.states[i + 1]
        )

    @cached_property
    def affirmed(self) -> frozenset[Item]:
        """Neighbours that are affirmed, or may be, somewhere."""
        return frozenset(
            (c.tokens[i], c.tokens[i + 1])
            for c in self.clauses
            for i in range(len(c.tokens) - 1)
            if not c.states[i] and not c.states[i + 1]
        )

    @cached_property
    def facts(self) -> frozenset[str]:
        return frozenset(fact for clause in self.clauses for fact in clause.facts)

    @cached_property
    def ors(self) -> int:
        return sum(len(_OR.findall(c.raw)) for c in self.clauses)

    @cached_property
    def ands(self) -> int:
        return sum(len(_AND.findall(c.raw)) for c in self.clauses)

    @cached_property
    def bounds(self) -> dict[str, frozenset[str]]:
        """Of the facts that stand once in the text."""
        often = Counter(f for c in self.clauses for f in c.facts)
        return {f: b for c in self.clauses for f, b in c.bounds.items() if often[f] == 1}

    @cached_property
    def listed(self) -> tuple[Item, ...]:
        """The content of the things that stand between others in a row."""
        found = (
            _clause(hit.group(), []).tokens for c in self.clauses for hit in _LISTED.finditer(c.raw)
        )
        return tuple(item for item in found if item)

    @cached_property
    def _places(self) -> dict[Item, list[int]]:
        """In which clauses a word, a pair or a fact stands; of very common ones, the first few."""
        places: dict[Item, list[int]] = {}
        for i, clause in enumerate(self.clauses):
            for item in (*clause.grams, *((f, FACT) for f in clause.facts)):
                found = places.setdefault(item, [])
                if len(found) < COMMON:
                    found.append(i)
        return places

    def near(self, clause: Clause) -> list[int]:
        """The numbers of those clauses, at most `COMMON`, that share most with another text's."""
        if len(self.clauses) <= COMMON:
            return list(range(len(self.clauses)))
        items = (*clause.grams, *((f, FACT) for f in clause.facts))
        shared = Counter(i for item in items for i in self._places.get(item, ()))
        return [i for i, _ in shared.most_common(COMMON)]


@lru_cache(maxsize=1024)
def wording(text: str, names: frozenset[str] = frozenset()) -> Wording:
    """A text taken apart."""
    masked, facts = _masked(_unlisted(text), names)
    folded = COURTESY.sub(lambda hit: hit.group() if FACT in hit.group() else "", fold(masked).text)
    lead = LEADS.match(folded + "。")
    clauses = []
    left = iter(facts)
    for raw in _CLAUSE_END.split(folded):
        clause = _clause(raw, [next(left) for _ in range(raw.count(FACT))])
        if clause.tokens or clause.facts:
            clauses.append(clause)
    return Wording(tuple(clauses), None if not lead else lead["no"] is None)


def _unlisted(text: str) -> str:
    """A list as plain sentences: what a label says and what follows it are one clause."""
    text = text.replace("**", "").replace("__", "")
    return _LABEL.sub(r"\1 ", text) if "\n" in text else text


@lru_cache(maxsize=1024)
def stated(question: str) -> Wording:
    """A question as the statement that `yes` makes of it."""
    return wording(_ASKS.sub("", fold(question).text))


def _masked(text: str, names: frozenset[str]) -> tuple[str, list[tuple[str, ...]]]:
    """The text with one sign for each fact, and what the signs stand for."""
    stretches: list[tuple[int, int, list[str]]] = []
    for fact in spans(text, names):
        if stretches and fact.start < stretches[-1][1]:
            start, end, stated = stretches[-1]
            stretches[-1] = (start, max(end, fact.end), [*stated, fact.name])
        else:
            stretches.append((fact.start, fact.end, [fact.name]))
    parts, at = [], 0
    for start, end, _ in stretches:
        parts += [text[at:start].replace(FACT, "").replace(NOT, ""), FACT]
        at = end
    parts.append(text[at:].replace(FACT, "").replace(NOT, ""))
    return "".join(parts), [tuple(stated) for _, _, stated in stretches]


def _clause(raw: str, stated: list[tuple[str, ...]]) -> Clause:
    text = raw
    for rule, target in BROKEN_UP:
        text = rule.sub(target, text)
    text = KEPT.sub(lambda hit: _NOTS.sub("", hit.group()), text)
    text = NEGATION.sub(NOT, text)
    for rule, target in synonyms():
        text = rule.sub(target, text)
    text = PHRASES.sub(" ", text)
    tokens: list[str] = []
    states: list[bool | None] = []
    denied: set[Item] = set()
    before: dict[str, frozenset[str]] = {}
    since: list[str] = []
    left = iter(stated)
    denials = reached = 0  # signs in a row; content since then
    unsure = NOT in text
    for hit in _TOKEN.finditer(text):
        token = hit.group()
        if token == NOT:
            denials, reached = (denials + 1 if denials and not reached else 1), 0
            unsure = False
        elif token == FACT:
            for name in next(left, ()):
                before[name] = frozenset(since)
            since = []
        elif token in _STOPS:
            denials = 0
        elif token == "、":
            reached = max(reached, REACH)
        elif token not in FILLING and token not in FILLING_WORDS:
            token = _stem(token)
            odd = denials % 2 == 1
            state = None if unsure or (odd and reached >= REACH) else odd
            if odd and reached == 0:
                denied.add((token,))
            elif odd and reached == 1:
                denied.discard((tokens[-1],))
                denied.add((tokens[-1], token))
            tokens.append(token)
            states.append(state)
            since.append(token)
            reached += 1
    return Clause(
        raw,
        tuple(stated),
        _bounds(raw, stated),
        before,
        tuple(tokens),
        tuple(states),
        frozenset(denied),
        text.count(NOT),
    )


def _grams(tokens: tuple[str, ...]) -> frozenset[Item]:
    return frozenset([*((t,) for t in tokens), *pairwise(tokens)])


def _stem(word: str) -> str:
    """English words without their commonest endings: refunds, refunded and refund are one."""
    if not word.isascii() or len(word) < 5:
        return word
    return re.sub(r"(?:ies|ied|ing|ed|es|s|e|y)$", "", word)


def _bounds(raw: str, stated: list[tuple[str, ...]]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    at = -1
    for group in stated:
        at = raw.index(FACT, at + 1)
        ahead, behind = raw[max(0, at - 14) : at], raw[at + 1 : at + 8]
        bounds = frozenset(
            bound for before, after, bound in _BOUNDS if before.search(ahead) or after.match(behind)
        )
        for name in group:
            if bounds:
                found[name] = found.get(name, frozenset()) | bounds
    return found
