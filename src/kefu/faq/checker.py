"""`check`: every complaint about an FAQ, gathered, then spoken once, the worst first.

Does not know files or columns: it judges an `Faq`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..records import Faq, Finding
from . import alike, faults, formats

_SEVERITY = {"stop": 0, "warn": 1, "note": 2}


def check(
    faq: Faq,
    *,
    count_tokens: Callable[[str], int] | None = None,
    max_tokens: int | None = None,
) -> tuple[Finding, ...]:
    """All findings, stops first, then by place in the file.

    `count_tokens` gives the tokens of a text with the base's own tokenizer (else an estimate);
    `max_tokens` is the most that question and answer together may have (else 1,024). Findings
    without origins concern the whole.
    """
    pairs = faq.pairs
    findings = [
        *faults.find(faq, count_tokens, max_tokens),
        *formats.mixed(pairs),
        *alike.compare(pairs),
    ]
    place = {pair.origin: i for i, pair in enumerate((*pairs, *faq.incomplete))}
    return tuple(
        sorted(
            findings,
            key=lambda f: (
                _SEVERITY[f.level],
                place.get(f.origins[0], -1) if f.origins else len(place),
                f.code,
            ),
        )
    )
