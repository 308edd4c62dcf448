"""What customers asked in vain: proposals for the FAQ, accepted, changed or skipped one by one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import releases, show
from ..asked import PLACE, Log
from ..errors import FaqError, KefuError, RunError
from ..workspace import RunFolder, Workspace, dump
from .base import EXAMPLES, Asked, as_json, cli, emit, with_faq

if TYPE_CHECKING:
    from ..jobs.feedback import Feedback, Proposal


@cli.command(epilog=EXAMPLES + "kefu feedback shop.xlsx")
@click.option("--run", help="Whose exam stays held out: else the released run's, or the newest's.")
@click.option("--accept", multiple=True, metavar="ID|FILE", help="Take over, without asking.")
@click.option("--skip", multiple=True, metavar="ID", help="Show this one no more.")
@with_faq
@as_json
def feedback(
    asked: Asked, run: str | None, accept: tuple[str, ...], skip: tuple[str, ...], json_: bool
) -> None:
    """Put questions that were handed over or voted down into the FAQ file.

    Groups them by likeness and proposes, for each group, wordings for the nearest row or a new
    row. Questions to runs of another FAQ are left alone. On a terminal it asks about each.
    --accept takes an id, or the JSON file that --json printed and you changed. What the run's exam
    asks is never taken over.
    """
    from ..jobs.feedback import Feedback, read_proposals, strangers

    place = asked.workspace.root / PLACE
    if not place.is_file():
        raise RunError(
            f"Nothing was asked yet: {place} is not there.",
            "Serve the bot first: `kefu serve`. Its log is read here.",
        )
    named = asked.path or asked.settings.faq
    path = Path(named) if asked.path else asked.workspace.root / named
    faq = asked.faq()
    others = strangers(asked.workspace, faq)
    whose = _run(asked.workspace, run, others)
    work = Feedback(Log(place, days=None), faq, path, whose, others)
    for number in skip:
        work.skip(number)
    done = []
    for word in accept:
        file = Path(word)
        known = {p.id: p for p in work.proposals}
        if word not in known and not file.is_file():
            raise FaqError(
                f"{word!r} is no open proposal and no file.",
                f"Open now: {', '.join(known) or 'none'}.",
            )
        for wanted in (known[word],) if word in known else read_proposals(file):
            done.append((wanted, work.accept(wanted)))
    if json_:
        return emit([dump(p) for p in work.proposals])
    for wanted, written in done:
        show.say(f"{wanted.id}: written into {written}")
    if not accept and not skip and sys.stdin.isatty():
        _walk(work)
    elif not accept and not skip:
        for proposal in work.proposals:
            _tell(proposal)
    if not work.proposals and not done:
        show.say("No question is open: nothing was handed over or voted down since.")
    elif done:
        show.aside("Train again, so that the bot learns it: `kefu train`.")
    return None


def _run(workspace: Workspace, name: str | None, others: frozenset[str]) -> RunFolder | None:
    """The run that was named, else the released, else the newest of this FAQ; None where there is
    none."""
    if name is not None:
        return workspace.run(name)
    out = releases.current(workspace)
    if out is not None and out.run not in others:
        return workspace.run(out.run)
    own = [run for run in workspace.runs() if run.finished and run.name not in others]
    return own[-1] if own else None


def _tell(one: Proposal) -> None:
    show.say()
    show.heading(
        f"{one.id}  asked {one.asked} times, handed over {one.handed_over}, "
        f"voted down {one.voted_down}"
    )
    if one.kind == "wording":
        show.say(f"Row:       {one.question} ({one.where})")
        show.say(f"Answer:    {one.answer}")
    else:
        show.say(f"New row:   {one.question}")
    for text in one.wordings:
        show.say(f"Wording:   {text}")
    for text in one.refused:
        show.say(f"Left out:  {text}")
    show.say(f"Why:       {one.because}")


def _walk(work: Feedback) -> None:
    """Asks about one proposal after the other; each is written as soon as it is accepted."""
    for one in work.proposals:
        _tell(one)
        while True:
            said = click.prompt(
                "(a)ccept, (e)dit, (s)kip for ever, (l)ater, (q)uit",
                type=click.Choice(["a", "e", "s", "l", "q"]),
                show_choices=False,
                err=True,
            )
            if said == "q":
                return
            if said == "l":
                break
            if said == "s":
                work.skip(one.id)
                break
            wanted = one
            if said == "e" or (one.kind == "row" and not one.answer):
                wanted = _edited(one)
            try:
                show.say(f"written into {work.accept(wanted)}")
                break
            except KefuError as error:
                show.error(error.what, error.fix)


def _edited(one: Proposal) -> Proposal:
    """The proposal as the owner words it. An empty line keeps what is there."""
    question = click.prompt("Question of the row", default=one.question, err=True)
    new = one.kind == "row"
    answer = one.answer
    if new:
        answer = click.prompt("Answer", default=one.answer or None, err=True)
    kept = click.prompt(
        "Wordings, separated by |", default="|".join(one.wordings), show_default=True, err=True
    )
    texts = tuple(text.strip() for text in kept.split("|") if text.strip())
    return replace(one, question=question, answer=answer, wordings=texts)
