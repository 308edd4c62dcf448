"""evaluate(): the exam of one run, asked by many workers; the report is that of one process.

Each worker opens the run once and answers a batch of questions at a time; marking, and the replies
on disk with which a stopped exam goes on, stay where they are. Controls without a model, and the
previous release, are asked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import jobs
from ..records import ExamQuestion, Mode, Reply, Report
from ..workspace import RunFolder
from .cluster import RETRIES, connected, share

BATCH = 32
"""Questions that a worker is given at a time: as many as a bot answers together on a CPU."""


class _Examinee:
    """A run, opened in a worker."""

    def __init__(self, folder: Path, mode: Mode | None) -> None:
        from ..bot import Bot

        self.bot = Bot.open(RunFolder(folder), mode=mode)

    def answer(self, who: str, asked: Sequence[ExamQuestion]) -> list[Reply]:
        return jobs.answered_by(self.bot, who, asked)


def evaluate(
    folder: RunFolder,
    *,
    address: str | None = None,
    mode: Mode | None = None,
    **options: Any,
) -> Report:
    """As `jobs.evaluate`, with the run and the untuned base asked by all workers of the cluster."""
    with connected(address, folder.path.resolve()) as ray:
        from ray.util import ActorPool

        needs = share(ray, folder.plan().forecast.memory)
        there = ray.cluster_resources()
        count = int(there.get("GPU") or there.get("CPU", 1))
        make = ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)(_Examinee)
        actors = [make.remote(folder.path.resolve(), mode) for _ in range(max(1, count))]

        def spread(who: str, answer: jobs.Answerer) -> jobs.Answerer:
            def ask(asked: Sequence[ExamQuestion]) -> Iterator[Reply]:
                parts = [asked[i : i + BATCH] for i in range(0, len(asked), BATCH)]
                pool = ActorPool(actors)
                for replies in pool.map(lambda a, part: a.answer.remote(who, part), parts):
                    yield from replies

            return ask

        try:
            return jobs.evaluate(folder, mode=mode, spread=spread, **options)
        finally:
            for actor in actors:
                ray.kill(actor)
