"""What customers asked in vain, as proposals for the FAQ; what is accepted goes into its file.

A log may hold questions to bots of several FAQs: those of other FAQs are left alone. Which FAQ a
run is of follows from the rows that it was trained on, so that a run before the last edit counts.

Groups by letters and words in common, not by meaning: a group may be torn in two, and the row that
is proposed is a guess for the owner to judge. Nothing is ever written into an exam, and nothing
that a run's exam asks is written into the FAQ: that exam would ask what was trained.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from .. import exam as exams
from ..asked import Log, Open
from ..errors import FaqError, RunError
from ..faq import write
from ..recall import Index, normalise
from ..records import ExamQuestion, Faq, Origin, Pair, digest
from ..workspace import RunFolder, Workspace, parse

ALIKE = 0.35
"""Questions at least this alike make a group where no row is near."""
NEAR = 0.4
"""A row at least this like a question is proposed for it; bench/feedback.py tries other values."""
SHARED = 0.5
"""Two FAQs are one, at two times, when the smaller has so many of its rows in the other."""
_BLACKED = re.compile(r"\[(?:mail|card|phone)\]")
_FORMULA = ("=", "+", "-", "@", "\t")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A group of questions and what could be done with it. `wordings` and, of a new row,
    `question` and `answer` are the owner's to change."""

    id: str
    kind: Literal["wording", "row"]
    """Other wordings for a row that is there, or a new row."""
    question: str
    """Of the row."""
    answer: str = ""
    """Of the row; empty where it is the owner's to write."""
    wordings: tuple[str, ...] = ()
    where: str = ""
    """The place of the row in the owner's file."""
    because: str = ""
    asked: int = 0
    handed_over: int = 0
    voted_down: int = 0
    refused: tuple[str, ...] = ()
    """What is left out, each with the reason."""


@dataclass(frozen=True, slots=True)
class _Group:
    texts: tuple[str, ...]
    """Different questions, the most frequent first."""
    logged: tuple[Open, ...]
    row: Pair | None = None
    """The row that they are all nearest to."""
    likeness: float = 0.0


class Feedback:
    """The open questions of one log beside one FAQ and the exam of one run.

    Questions to the runs `others` are of another FAQ, and are passed over.
    """

    def __init__(
        self,
        log: Log,
        faq: Faq,
        path: Path,
        run: RunFolder | None,
        others: Collection[str] = (),
    ) -> None:
        self.log, self.faq, self.path, self.run = log, faq, path, run
        self._exam: tuple[ExamQuestion, ...] = ()
        if run is not None and run.file("exam.jsonl").is_file():
            self._exam = tuple(exams.read(run.file("exam.jsonl"), run.faq(), run.examples()))
        mine = [one for one in log.open() if one.model not in others]
        found = ((self._propose(g), g) for g in groups(mine, faq))
        self._groups = {proposal.id: (proposal, group) for proposal, group in found}

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """One a group, the most asked first."""
        return tuple(proposal for proposal, _ in self._groups.values())

    def skip(self, number: str) -> None:
        """The group is not shown again. Raises FaqError when there is none of this id."""
        _, group = self._find(number)
        self.log.deal((o.id for o in group.logged), "skipped")
        del self._groups[number]

    def accept(self, wanted: Proposal) -> Path:
        """Writes a proposal, as the owner left it, into the FAQ file; gives the file back.

        Raises FaqError when it cannot be taken as it is, and writes nothing then.
        """
        _, group = self._find(wanted.id)
        self._check(wanted)
        pair, changed = self._place(wanted)
        file = self.path / pair.origin.file if self.path.is_dir() else self.path
        write([changed], file, like=file)
        self.log.deal((o.id for o in group.logged), "accepted")
        del self._groups[wanted.id]
        others = tuple(changed if p is pair else p for p in self.faq.pairs)
        new = (changed,) if changed.origin.row == 0 else ()
        self.faq = replace(self.faq, pairs=(*others, *new))
        return file

    # --- what is proposed ------------------------------------------------------------

    def _propose(self, group: _Group) -> Proposal:
        kept, refused = [], []
        for text in group.texts:
            why = self._refusal(text)
            if why:
                refused.append(f"{text} ({why})")
            else:
                kept.append(text)
        blamed, row = _blamed(group.logged), group.row
        base = Proposal(
            id=digest([group.texts[0]])[:6],
            kind="row",
            question=kept[0] if kept else group.texts[0],
            wordings=tuple(kept[1:]),
            asked=len(group.logged),
            handed_over=sum(o.handed_over for o in group.logged),
            voted_down=sum(o.down for o in group.logged),
            refused=tuple(refused),
        )
        voted = "".join(
            f" Customers said that the answer of “{source}” did not help: read it again."
            for source in sorted(blamed)
        )
        if row is None:
            because = "No row of the FAQ is like it: write an answer, and it becomes a new row."
            return replace(base, because=because + voted)
        return replace(
            base,
            kind="wording",
            question=row.question,
            answer=row.answer,
            wordings=tuple(kept),
            where=str(row.origin),
            because=f"The nearest row of the FAQ (likeness {group.likeness:.2f} of 1).{voted}",
        )

    def _refusal(self, text: str) -> str:
        """Why a question may not become a wording, or nothing."""
        for pair in self.faq.pairs:
            if any(text == p for p in pair.phrasings):
                return f"stands in {pair.origin} already: train again"
        if _BLACKED.search(text):
            return "personal data in it was blacked out: word it anew"
        if text.startswith(_FORMULA):
            return "a spreadsheet would take it for a formula"
        own = {p.question for p in self.faq.pairs}
        asked = [q.question for q in self._exam if q.question not in own]
        near = [q.question for q in self._exam if q.answer is not None and q.question not in own]
        if text in asked or not exams.apart([text], near):
            name = self.run.name if self.run else ""
            return f"the exam of the run {name} asks it, or nearly: it stays held out"
        return ""

    # --- what is accepted ------------------------------------------------------------

    def _find(self, number: str) -> tuple[Proposal, _Group]:
        if number not in self._groups:
            known = ", ".join(self._groups) or "none"
            raise FaqError(
                f"There is no open proposal {number!r}.",
                f"Open now: {known}. `kefu feedback` lists them.",
            )
        return self._groups[number]

    def _check(self, wanted: Proposal) -> None:
        texts = [t for t in wanted.wordings if t.strip()]
        if wanted.kind == "row":
            if not wanted.answer.strip() or not wanted.question.strip():
                raise FaqError(
                    f"The new row of proposal {wanted.id} has no answer.",
                    "Write one: only you know it. Or skip the proposal.",
                )
            texts.insert(0, wanted.question)
        if not texts:
            raise FaqError(
                f"Nothing of proposal {wanted.id} can be taken over.",
                "Skip it, or give a wording of your own.",
            )
        faults = [f"{text}: {why}" for text in texts if (why := self._refusal(text))]
        if faults:
            raise FaqError(
                f"Proposal {wanted.id} cannot be taken as it is. {'; '.join(faults)}.",
                "Leave these wordings out, or word them otherwise.",
            )

    def _place(self, wanted: Proposal) -> tuple[Pair, Pair]:
        """The row that the proposal goes to, as it is and as it shall be."""
        texts = tuple(dict.fromkeys(t.strip() for t in wanted.wordings if t.strip()))
        if wanted.kind == "row":
            file = next((s.file for s in self.faq.sources if s.pairs), self.path.name)
            new = Pair(wanted.question.strip(), wanted.answer.strip(), Origin(file, 0), texts)
            return new, new
        for pair in self.faq.pairs:
            if pair.question == wanted.question:
                if pair.origin.row == 0:
                    break  # made a moment ago: its row number is known when the file is read again
                return pair, replace(pair, wordings=tuple(dict.fromkeys((*pair.wordings, *texts))))
        raise FaqError(
            f"No row of the FAQ asks {wanted.question!r}, which proposal {wanted.id} names.",
            "Give `question` as it stands in the file.",
        )


def strangers(workspace: Workspace, faq: Faq) -> frozenset[str]:
    """The names of the workspace's runs that were trained on another FAQ than `faq`. A run that
    cannot be read is none of them: better a question too many than one that nobody sees."""
    found = []
    for run in workspace.runs():
        with suppress(RunError):
            if not _one_faq(run.faq(), faq):
                found.append(run.name)
    return frozenset(found)


def _one_faq(one: Faq, other: Faq) -> bool:
    """Whether most rows are the same. Shops of a chain may ask alike and answer otherwise: such
    rows are the same only where they come from files of one name."""
    known = {normalise(p.question): p for p in one.pairs}
    same = 0
    for pair in other.pairs:
        found = known.get(normalise(pair.question))
        same += found is not None and (
            found.answer == pair.answer or found.origin.file == pair.origin.file
        )
    return same >= SHARED * min(len(one.pairs), len(other.pairs))


def groups(found: Sequence[Open], faq: Faq) -> list[_Group]:
    """Open questions by likeness, the most asked first.

    Questions that are nearest to one row make a group. Of the others each, the most frequent
    first, joins the group whose first question it is most like, or opens a new one: no chain of
    small likenesses can draw strangers together. A row whose answer did not help is not proposed.
    """
    by_text: dict[str, list[Open]] = {}
    for one in found:
        by_text.setdefault(" ".join(one.question.split()), []).append(one)
    texts = sorted(by_text, key=lambda t: -len(by_text[t]))
    near: dict[int, dict[str, float]] = {}
    far: list[str] = []
    for text, hits in zip(texts, Index(faq).search_all(texts, 5), strict=True):
        blamed = _blamed(by_text[text])
        hit = next((h for h in hits if h.question not in blamed), None)
        if hit is None or hit.score < NEAR:
            far.append(text)
        else:
            near.setdefault(hit.pair, {})[text] = hit.score
    # The FAQ is in the index too: which words are common is told by more than a few questions.
    index = Index([*(Pair(t, "", Origin("log", 0)) for t in far), *faq.pairs], answer_weight=0.0)
    alone: dict[int, list[str]] = {}
    for i, hits in enumerate(index.search_all(far, len(index))):
        leader = next((h.pair for h in hits if h.pair in alone and h.score >= ALIKE), i)
        alone.setdefault(leader, []).append(far[i])

    def group(members: Iterable[str], row: Pair | None = None, likeness: float = 0.0) -> _Group:
        kept = tuple(members)
        return _Group(kept, tuple(o for t in kept for o in by_text[t]), row, likeness)

    made = [group(m, faq.pairs[i], max(m.values())) for i, m in near.items()]
    made += [group(m) for m in alone.values()]
    return sorted(made, key=lambda g: -len(g.logged))


def _blamed(logged: Iterable[Open]) -> set[str]:
    """The rows whose answer was given and did not help."""
    return {o.source for o in logged if o.down and not o.handed_over and o.source}


def read_proposals(file: Path) -> tuple[Proposal, ...]:
    """Proposals from the JSON that `kefu feedback --json` prints, as the owner changed it."""
    try:
        return parse(tuple[Proposal, ...], json.loads(file.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise FaqError(f"{file} cannot be read: {error.strerror}.", "Check the file.") from None
    except (ValueError, ValidationError) as error:
        raise FaqError(
            f"{file} holds no proposals: {str(error).splitlines()[0]}.",
            "Begin with what `kefu feedback --json` prints, and change that.",
        ) from None
