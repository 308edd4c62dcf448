"""The nouns of kefu: small frozen records that flow forward from room to room.

Standard library only, so that every room may import them at no cost. A record
never knows how it is stored (see `workspace`) or shown (see `show`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

Level = Literal["stop", "warn", "note"]
Kind = Literal["known", "reworded", "near-miss", "out-of-scope", "multi-turn", "hostile"]
Mode = Literal["sample", "free", "locked", "verbatim"]
Turn = tuple[str, str]
"""One past exchange of a conversation: (what the user asked, what the bot answered)."""
Shown = tuple[str, str]
"""A row of the FAQ as a prompt carries it: (its question, which may be empty, and its answer)."""
Book = Literal["closed", "open"]
"""Whether a bot knows its answers by heart, or looks them up and has them in its prompt."""

KINDS: tuple[Kind, ...] = (
    "known",
    "reworded",
    "near-miss",
    "out-of-scope",
    "multi-turn",
    "hostile",
)
MODES: tuple[Mode, ...] = ("sample", "free", "locked", "verbatim")


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order and of platform."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


# --- the FAQ -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stands in the owner's file, as the owner's own program counts."""

    file: str
    row: int
    """1-based line or spreadsheet row; for JSON the 1-based number of the item."""
    sheet: str | None = None

    def __str__(self) -> str:
        unit = "item" if self.file.endswith((".json", ".jsonl")) else "row"
        sheet = f" sheet {self.sheet!r}" if self.sheet else ""
        return f"{self.file}{sheet} {unit} {self.row}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One question of the FAQ with its one answer, and other ways to ask it."""

    question: str
    answer: str
    origin: Origin
    wordings: tuple[str, ...] = ()
    topic: str | None = None
    must_pass: bool = False

    @property
    def phrasings(self) -> tuple[str, ...]:
        """The question itself, then its other wordings."""
        return (self.question, *self.wordings)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read, and how it was understood."""

    file: str
    format: str
    encoding: str
    pairs: int
    question_column: str
    answer_column: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an FAQ was read and by which columns, so that it can be read again."""

    path: str
    question: str | None = None
    answer: str | None = None
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class Faq:
    """All pairs of an FAQ file (or folder), in file order."""

    pairs: tuple[Pair, ...]
    sources: tuple[Source, ...]
    incomplete: tuple[Pair, ...] = ()
    """Rows with only a question or only an answer: `check` complains about them."""
    place: Place | None = None

    @property
    def digest(self) -> str:
        """Changes when a question, wording or answer changes; not when a file is renamed."""
        return digest([[p.question, p.answer, list(p.wordings)] for p in self.pairs])


def trained_part(faq: Faq, rows: Iterable[Example]) -> Faq:
    """The FAQ with only those other wordings that stand in `rows`: what may be known in an exam."""
    wordings: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.wording and row.source is not None:
            wordings.setdefault(row.source, {})[row.question] = None
    pairs = []
    for pair in faq.pairs:
        found = [text for text in wordings.get(pair.question, ()) if text != pair.question]
        pairs.append(replace(pair, wordings=tuple(found)))
    return replace(faq, pairs=tuple(pairs))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with an FAQ, where, and what to do about it."""

    level: Level
    code: str
    """The class of defect, kebab-case, e.g. `empty-cell`, `near-duplicate`."""
    message: str
    remedy: str
    origins: tuple[Origin, ...] = ()


# --- what is trained and what is asked ---------------------------------------


@dataclass(frozen=True, slots=True)
class Example:
    """One row of training or calibration data. `answer` None means: hand over to a person."""

    question: str
    answer: str | None
    source: str | None = None
    """The FAQ question that it belongs to, or lies near."""
    history: tuple[Turn, ...] = ()
    kind: str = "known"
    brief: bool = False
    """Trained on the answer's beginning only, see prompt.py: for wordings made by rules."""
    shown: tuple[Shown, ...] = ()
    """Rows that its prompt carries, in this order: open book."""

    @property
    def wording(self) -> bool:
        """Whether it is one wording of a question of the FAQ, asked by itself."""
        answered = self.source is not None and self.answer is not None
        return answered and not self.history and not self.shown and self.kind != "answer"


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """One question of an exam, with the only answer that counts as right."""

    question: str
    kind: Kind
    answer: str | None
    """The FAQ's answer, or None where the question must be handed to a person."""
    source: str | None = None
    history: tuple[Turn, ...] = ()
    must_not: str | None = None
    must_pass: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """An FAQ divided into what is trained, what sets the threshold, and what is asked.

    No two wordings of one question, and no two near-identical questions, lie on two sides.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    """Never trained on: sets the hand-over threshold and stops training early."""
    exam: tuple[ExamQuestion, ...] = ()
    leak: float = 0.0
    """The highest similarity (0 to 1) between a reworded exam question and a trained one."""
    notes: tuple[str, ...] = ()
    """What the person should know about this split, in whole sentences."""

    @property
    def digest(self) -> str:
        return digest([asdict(e) for e in (*self.train, *self.held_out)])


# --- the plan ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """A value that kefu (or the person) chose, and why."""

    value: T
    because: str


@dataclass(frozen=True, slots=True)
class Times:
    """How often a sweep takes what the plan would choose by itself: 1 is the plan's own."""

    rank: float = 1.0
    rate: float = 1.0
    """Of the learning rate."""
    practice: float = 1.0
    """Of the exposures of each fact."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run has to live on. Memory in bytes, rates in FLOP/s and bytes/s."""

    name: str
    device: Literal["cpu", "cuda"]
    cores: int
    memory: int
    """Of the accelerator when there is one, else of the host; free at the time of asking."""
    bf16: bool
    """Whether bf16 arithmetic is fast here, not merely possible."""
    flops: float
    """Sustained matrix rate in the training precision, FLOP/s."""
    bandwidth: float
    """Memory bandwidth, bytes/s."""
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes by part and seconds of a run, said before anything is loaded."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int
    seconds: float

    @property
    def allocated(self) -> int:
        """What torch calls allocated at the peak: all but `overhead`."""
        return (
            self.weights
            + self.adapters
            + self.gradients
            + self.optimizer
            + self.activations
            + self.logits
        )

    @property
    def memory(self) -> int:
        """Peak memory in bytes."""
        return self.allocated + self.overhead


Recipe = Literal["default", "tutorial"]
Precision = Literal["nf4", "bf16", "fp16", "fp32"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that determines a run, each number with its reason."""

    recipe: Choice[Recipe]
    base: Choice[str]
    template: Choice[str]
    """Name of the prompt template, see `prompt`."""
    precision: Choice[Precision]
    """In which the frozen base is kept."""
    compute: Choice[Literal["bf16", "fp16", "fp32"]]
    engine: Choice[Literal["trl", "lean"]]
    rank: Choice[int]
    alpha: Choice[int]
    dropout: Choice[float]
    targets: Choice[tuple[str, ...]]
    """Module name endings, or ("all-linear",)."""
    learning_rate: Choice[float]
    warmup: Choice[int]
    """Optimizer steps of linear warm-up."""
    scheduler: Choice[str]
    micro_batch: Choice[int]
    accumulation: Choice[int]
    exposures: Choice[float]
    """How often each fact (answer) is seen over the whole run."""
    steps: Choice[int]
    """Optimizer steps."""
    max_length: Choice[int]
    """Tokens; longer rows are refused, never cut silently."""
    checkpointing: Choice[bool]
    """Gradient checkpointing: activations are recomputed instead of kept."""
    save_every: Choice[int]
    keep: Choice[int]
    log_every: Choice[int]
    answer_only_loss: Choice[bool]
    mode: Choice[Mode]
    hand_over_share: Choice[float]
    """Share of training rows whose target is the hand-over."""
    seed: Choice[int]
    hand_over: Choice[str]
    """The sentence with which a question is handed to a person."""
    persona: Choice[str]
    """System prompt; empty by default, so that serving engines need not repeat it."""
    trainable: Choice[int]
    """Trainable parameters, exact."""
    total: Choice[int]
    """All parameters, adapters included, exact."""
    forecast: Forecast
    machine: Machine
    faq_digest: str
    trust_remote_code: bool = False
    softmax: Choice[Literal["all", "likely"]] = Choice("all", "Over the whole vocabulary.")
    """Over which tokens the loss is normalised, see train/loss.py."""
    contrast: Choice[float] = Choice(0.0, "Off: the answers' words alone are learned.")
    """Weight of drawing the wordings of one answer together, see train/contrast.py."""
    warm: Choice[str] = Choice("", "The adapter begins with nothing learned.")
    """The adapter that the run's own begins from, see weights/warm.py; empty for none."""
    unpacked: Choice[bool] = Choice(False, "The base is kept as it is.")
    """Whether a 4-bit base is unpacked once while training: the same numbers, more memory."""
    shard: Choice[bool] = Choice(False, "Each card holds the whole base.")
    """Whether the base is cut up over the cards that train together, see train/split.py."""
    patience: Choice[int] = Choice(0, "Off: all steps are done.")
    """Optimizer steps without a gain on held-out wordings after which training ends; 0 for none."""
    book: Choice[Book] = Choice("closed", "The answers are learned by heart.")
    shown: Choice[int] = Choice(0, "Closed book: the prompt carries no rows.")
    """Rows of the FAQ that a prompt carries in open book."""

    @property
    def choices(self) -> dict[str, Choice[Any]]:
        """Every number of the plan by its name."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: one for name, one in named.items() if isinstance(one, Choice)}

    @property
    def effective_batch(self) -> int:
        """Examples an optimizer step."""
        return self.micro_batch.value * self.accumulation.value


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step as it happened. Loss is the mean per target token, in nats."""

    step: int
    of: int
    loss: float
    learning_rate: float
    grad_norm: float
    seconds: float
    """Since training began."""
    memory: int
    """Peak bytes allocated so far on the training device."""
    note: str = ""
    held_out: float | None = None
    """Share of held-out wordings that lie nearest to their own answer, where that was looked at."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training run that ended (or can be resumed): where it is and what came of it."""

    name: str
    folder: str
    steps: int
    first_loss: float
    last_loss: float
    seconds: float
    trainable: int
    total: int
    finished: bool = True


# --- answers and marks -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """What a bot said to one question."""

    text: str
    handed_over: bool = False
    confidence: float = 1.0
    """Calibrated probability, 0 to 1, that `text` is the right answer."""
    source: str | None = None
    """The FAQ question whose answer this is, where the mode knows it."""
    stopped: bool = True
    """False when the answer was cut off before its terminator."""
    first_token: float = 0.0
    """Seconds to the first token."""
    last_token: float = 0.0
    """Seconds to the last token."""
    tokens: int = 0
    note: str = ""
    read: int = 0
    """Tokens of the prompts that the model read for it, where the mode knows them."""
    offered: tuple[str, ...] = ()
    """Handed over: the FAQ questions that were probably meant, likeliest first, at most three."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is right and wrong with one answer. Facts are canonical, e.g. `phone:0800123456`."""

    right: bool
    handed_over: bool
    facts_right: tuple[str, ...] = ()
    facts_missing: tuple[str, ...] = ()
    facts_invented: tuple[str, ...] = ()
    """In the answer, nowhere in the FAQ."""
    facts_misplaced: tuple[str, ...] = ()
    """In the FAQ, but of another answer."""
    agreement: float = 0.0
    """Of the texts, 0 to 1; see `score`."""
    because: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One exam question, the reply to it, and its mark."""

    asked: ExamQuestion
    reply: Reply
    mark: Mark


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over the questions of one kind."""

    kind: str
    asked: int
    right: int
    wrong: int
    handed_over: int
    false_answers: int
    """Answered what it should have handed over."""
    false_hand_overs: int
    """Handed over what the FAQ answers."""
    invented: int
    """Answers with at least one invented fact."""
    offered: int = 0
    """Of the false hand-overs, those that offered the FAQ question that was meant."""
    low: float = 0.0
    """Of the share right: lower end of the 95 % interval (Wilson)."""
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One examinee in a report: the run itself or a control."""

    name: str
    tallies: tuple[Tally, ...]
    overall: Tally
    first_token: float = 0.0
    """Median seconds."""
    last_token: float = 0.0
    """Median seconds."""
    last_token_p95: float = 0.0
    gained: int = 0
    """Of a control: questions that the run got right and it got wrong."""
    lost: int = 0
    """Of a control: questions that it got right and the run got wrong."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A row that was edited after the training, and that the bot still answers in its old form."""

    question: str
    old: str
    new: str
    """Empty where the row is gone."""
    origin: str
    """Where it stands, or stood, in the owner's file."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an exam. Data only: the terminal, Markdown and HTML are pictures of it."""

    run: str
    exam_digest: str
    faq_digest: str
    created: str
    """ISO 8601, UTC."""
    candidates: tuple[Candidate, ...]
    """The run first, then the controls."""
    verdicts: tuple[Verdict, ...]
    """Of the run, in the exam's order."""
    sentence: str
    """Whether fine-tuning earned its keep on this FAQ, in one plain sentence."""
    mode: str = ""
    threshold: float = 0.0
    curve: tuple[tuple[float, float, float], ...] = ()
    """(threshold, share of questions answered, share of those answered wrongly)."""
    versions: dict[str, str] = field(default_factory=dict)
    stale: tuple[Stale, ...] = ()
    """Rows of today's FAQ file that the bot answers as they were when it was trained."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on one exam."""

    a: str
    b: str
    changed: tuple[tuple[str, str, str], ...]
    """(what, in a, in b): differences of data and plan."""
    fixed: tuple[str, ...]
    """Questions that a got wrong and b got right."""
    broken: tuple[str, ...]
    right_a: int
    right_b: int
    asked: int
    p_value: float
    """Exact two-sided McNemar test on the questions on which they differ."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Release:
    """A run that was let out, by whom, when."""

    run: str
    by: str
    at: str
    """ISO 8601, UTC."""
    report_digest: str
    reasons: tuple[str, ...] = ()
    back: bool = False
    """True when this record returns to an earlier release."""


def as_dict(record: Any) -> Any:
    """A record as plain JSON-able containers."""
    return asdict(record)
