"""How far the last child command is: read from the files that it leaves in the workspace."""

from __future__ import annotations

from dataclasses import dataclass

from .. import background, releases, show
from ..background import Complaint, Job
from ..records import Step
from ..workspace import RunFolder, Workspace, read_lines

CONTROLS = 3
"""Examinees beside the run and the release before."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The last job, and how its run stands."""

    job: Job
    busy: bool
    wrong: Complaint | None
    """What it complained of at its end."""
    steps: tuple[Step, ...]
    """The training's steps so far."""
    left: float | None
    """Seconds until the last step; None while nobody can tell."""
    done: bool
    """Whether the run is trained."""
    answered: int
    """Exam questions answered so far, by the run and its controls, of `questions`."""
    questions: int
    trained: tuple[str, ...]
    """Every run that is finished: the job's own first, then the newest."""

    @property
    def run(self) -> str | None:
        """The finished run that a person has in mind: the one last at work, or the newest."""
        return self.trained[0] if self.trained else None

    @property
    def before(self) -> str | None:
        """The finished run to set beside it: another one, where there is another."""
        return self.trained[1] if len(self.trained) > 1 else self.run

    @property
    def halted(self) -> bool:
        """Whether a training was stopped half-way."""
        return bool(self.steps) and not self.busy and not self.done


def progress(workspace: Workspace) -> Progress:
    """How the last job stands; one of no run where there was none."""
    job = background.last(workspace)
    busy = background.runs(job)
    folder = RunFolder(workspace.runs_folder / job.run)
    steps = tuple(folder.steps())
    each = show.pace(step.seconds for step in steps)
    trained = [run.name for run in workspace.runs() if run.finished][::-1]
    asked = len(read_lines(folder.file("exam.jsonl")))
    return Progress(
        job=job,
        busy=busy,
        wrong=None if busy else background.complaint(workspace),
        steps=steps,
        left=each * (steps[-1].of - steps[-1].step) if each else None,
        done=folder.finished,
        answered=sum(len(read_lines(p)) for p in folder.path.glob("exam/*.jsonl")),
        questions=asked * (1 + CONTROLS + (releases.current(workspace) is not None)),
        trained=tuple(sorted(trained, key=lambda name: name != job.run)),
    )
