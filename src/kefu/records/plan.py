"""What a run is to do and what it did: every number of a plan with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from .faq import Book, Mode

T = TypeVar("T")


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
    reader: Choice[str] = Choice("", "No other base reads beside it.")
    """The embedded base that compares questions and reads rows for the bot, where the run's own has
    no warm adapter, see bot/beside.py; empty for none. Its warm adapter has its name."""
    reranker: Choice[str] = Choice("", "The base that compares questions reads rows, too.")
    """The larger base, by name or folder, that reads rows in the place of the one that compares
    questions, see bot/reranker.py; empty for none."""
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
    def reads_by(self) -> str:
        """The warm adapter by which the bot reads questions; empty where its own has to do."""
        return self.warm.value or self.reader.value

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
