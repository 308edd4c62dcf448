"""How a Chinese question becomes another wording: which family works when, and how often.

Works on Traditional characters; a Simplified question is taken there and back. What the
rules say is data; what a sentence means is not known here.
"""

from __future__ import annotations

import random
import re

from . import frames, noise, shells, words
from .registry import Draft, Generator, pick
from .scenes import Scenes
from .script import convert, is_simplified, to_traditional

FAMILIES = (
    "scene",
    "frame",
    "keyword",
    "register",
    "word",
    "mixing",
    "opening",
    "closing",
    "particle",
    "typing",
    "punctuation",
    "script",
)
_BROKEN = re.compile(
    r"的的|有有|會會|要要|是是|嗎嗎|想想|可以可以|怎麼怎麼|什麼什麼|請問.*請問|需要要|要需要|可以能|能可以|"
    r"及的|應怎|要該|該要|會應該|是應該|能應該|嗎[呢啊喔]|[？?][，,]|，，|^[，,的]|要怎麼要|可以有沒有|有沒有有|的[？?]|在在|是不是是|想要想|"
    r"怎麼.{0,2}怎麼|多久.{0,3}多久|我我|你你|嗎.{0,2}不|費費|想要要|了了|是要是|請.{0,2}請"
)
"""What no person writes: two rules met badly."""
SUBSTANCE = frozenset(FAMILIES) - {"punctuation", "script"}


def wording(
    base: str,
    row: int,
    rng: random.Random,
    allowed: frozenset[str],
    side: Generator,
    scenes: Scenes | None,
    used: set[str],
) -> Draft | None:
    """One new wording of `base`, or None where the dice found nothing that reads well."""
    simplified = is_simplified(base)
    draft = _core(to_traditional(base), row, rng, allowed, side, scenes, used)

    def chance(family: str, p: float) -> bool:
        return family in allowed and rng.random() < p

    if not draft.scene and not draft.used("keyword"):
        if chance("register", 0.25 if draft.rules else 0.6):
            draft = words.register(draft, rng, side)
        if chance("word", 0.7 if len(base) <= 30 else 0.4):
            draft = words.word(draft, rng, side)
        if chance("mixing", 0.05):
            draft = words.mixing(draft, rng, side)
    if not draft.used("keyword"):
        if chance("opening", 0.12 if draft.scene else 0.35):
            draft = shells.opening(draft, rng, side)
        if chance("particle", 0.12):
            draft = shells.particle(draft, rng, side)
        if chance("closing", 0.1):
            draft = shells.closing(draft, rng, side)
    if chance("typing", 0.1):
        draft = noise.typing(draft, rng, side)
    if not any(name.partition(":")[0] in SUBSTANCE for name in draft.rules):
        return None
    text = draft.text if draft.used("closing") else noise.mark(draft.text, rng)
    draft = draft if text == draft.text else Draft(text, draft.rules, draft.scene)
    if chance("punctuation", 0.5):
        draft = noise.punctuation(draft, side)
    if _BROKEN.search(draft.text):
        return None
    if chance("script", 0.08):
        return noise.script(draft, simplified, side)
    return Draft(convert(draft.text, "t2s"), draft.rules, draft.scene) if simplified else draft


def _core(
    base: str,
    row: int,
    rng: random.Random,
    allowed: frozenset[str],
    side: Generator,
    scenes: Scenes | None,
    used: set[str],
) -> Draft:
    """The sentence itself, before words and manners: a scene, another frame, keywords, or as is."""
    bare = Draft(shells.bare(base))
    options: list[tuple[float, Draft]] = [(1.0, bare)]
    offered = scenes.of(row) if scenes else []
    if fresh := [rule for rule in offered if rule.name not in used]:
        rule = rng.choice(fresh)
        options.append((5.0, Draft(rule.payload, (rule.name,), True)))
    if "frame" in allowed and (framed := frames.frames(bare.text, side)):
        chosen = pick([rule for rule, _ in framed], rng, used)
        text = next(text for rule, text in framed if rule is chosen)
        options.append((3.0, bare.after(text, chosen.name)))
    if "keyword" in allowed and (short := frames.keywords(bare, rng, side)):
        options.append((0.6, short))
    weights = [weight for weight, _ in options]
    return rng.choices([draft for _, draft in options], weights)[0]
