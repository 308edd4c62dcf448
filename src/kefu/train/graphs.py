"""The lean engine's steps as CUDA graphs: the same mathematics, launched in one go.

A step of a few hundred tokens is thousands of small kernels, and Python launches them more slowly
than a GPU works them off. Here a whole step (forwards, backwards, clipping, AdamW) is recorded once
for each bucket of tokens and then replayed. Rows lie end to end as in lean.py, filled up to their
bucket with one row that counts nothing; one copy brings a step's rows to the GPU, and the host
reads a step's loss while the next one runs.

On several cards each records its own share of a step up to the gradients, and what follows them;
between the two replays the cards add up one flat tensor, as in many.py.

Does not know accumulation, checkpointing or loss scaling: such plans go lean.py's way. So does a
run from where it fell apart or was short of memory, and a base that is cut up over the cards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..weights import frozen_head
from . import lean
from .buckets import Bucket, buckets_of, fitting
from .checkpoints import Moving
from .contrast import Bank
from .feed import Feed, Share, share_of
from .guard import Guard
from .ladder import climb_down, resumable, short_of_memory
from .lean import CLIP, autocast, schedule
from .loss import LabelLoss
from .quick import Quick
from .session import Session
from .untrained import look

LEAST = 16
"""Steps from which on recording pays: it costs about as much as three to five steps."""


def possible(session: Session) -> bool:
    """Whether this session's steps can be recorded, and whether that is worth it."""
    plan, world = session.plan, session.cards.world
    return (
        session.device.startswith("cuda")
        and not session.split
        and plan.effective_batch % world == 0
        and plan.effective_batch // world <= plan.micro_batch.value
        and not plan.checkpointing.value
        and plan.compute.value != "fp16"  # its loss scale asks the host after every step
        and plan.steps.value >= LEAST
        and plan.softmax.value != "likely"
        and not plan.patience.value  # a look needs the model as it is, not a recording of it
        and frozen_head(session.model.get_base_model()) is not None
    )


class Recorder:
    """Does steps: by replaying what was recorded, or as they come where nothing records."""

    def __init__(
        self,
        session: Session,
        optimizer: Any,
        bank: Bank | None,
        masters: Sequence[torch.nn.Parameter],
    ) -> None:
        self.session, self.optimizer, self.bank = session, optimizer, bank
        self.inner = session.model.get_base_model()
        head = frozen_head(self.inner)
        assert head is not None
        self.head, self.cap = head
        self.weights = [p for p in session.model.parameters() if p.requires_grad]
        self.masters, self.cards = masters, session.cards
        # All gradients in one piece, in fp32, and behind them the loss and who was asked to stop.
        sizes = [m.numel() for m in masters]
        self.flat = torch.zeros(sum(sizes) + 2, device=session.device)
        *parts, self.said = torch.split(self.flat, [*sizes, 2])
        self.grads = [p.view_as(m) for p, m in zip(parts, masters, strict=True)]
        for master, grad in zip(masters, self.grads, strict=True):
            master.grad = grad
        self.cuda = session.device.startswith("cuda")
        self.longest = max(session.lengths)
        self.half = self.cuda and session.plan.compute.value == "bf16"
        self.fast: Quick | None = None
        if self.half:
            self._halve()
        self.feeds: dict[Bucket, Feed] = {}
        self.replays: dict[Bucket, Callable[[], torch.Tensor]] = {}
        self.update: Callable[[], torch.Tensor] = self._update
        self.pool = torch.cuda.graph_pool_handle() if self.cuda else None

    def open(self, bucket: Bucket, share: Share) -> None:
        """Records the steps of a bucket, where that was not done, from one of them."""
        if bucket in self.feeds:
            return
        feed = Feed(bucket, len(share.numbers), self.session.device)
        feed.fill(share.rows, share.numbers, share.labelled, False)
        alone = self.cards.world == 1

        def work() -> torch.Tensor:
            return self._work(feed) if alone else self._gradient(feed)

        if self.cuda:
            if not self.replays:
                self._warm_up(feed)
                if not alone:
                    self.update = self._record(self._update)
            self.replays[bucket] = self._record(work)
        else:
            self.replays[bucket] = work
        self.feeds[bucket] = feed

    def step(self, bucket: Bucket, share: Share) -> torch.Tensor:
        """One optimizer step; its loss, the norm of its gradient and how many processes were asked
        to stop (3,), on the device, not waited for."""
        self.open(bucket, share)
        asked = self.session.asked.here
        self.feeds[bucket].fill(share.rows, share.numbers, share.labelled, asked)
        out = self.replays[bucket]()
        if self.cards.world == 1:
            return out
        self.cards.add(self.flat)
        self.cards.same_bank(self.bank, share.whole, share.numbers)
        return self.update()

    def _halve(self) -> None:
        """Adapters in half precision for the arithmetic, their masters in fp32 for the optimizer.

        Autocast does the same to each weight, and to each input of an adapter twice, one by one.
        """
        self.copies = [m.to(torch.bfloat16) for m in self.masters]
        self._give(self.copies)
        self.fast = Quick(self.inner, max((row.ids for row in self.session.rows), key=len))

    def _give(self, values: Sequence[torch.Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            weight.grad = None
            weight.data = value.data

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Meanwhile the model has the masters, as it is to be saved."""
        self._give(self.masters)
        yield
        self._give(self.copies if self.half else self.masters)

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Meanwhile the model can be called as anybody calls it, which recorded steps ignore."""
        if self.fast:
            self.fast.take_out()
        yield
        if self.fast:
            self.fast.put_in()

    def finish(self) -> None:
        """The model has its weights in full from here on, and nothing recorded is left."""
        self._give(self.masters)
        self.replays.clear()
        self.feeds.clear()
        if self.fast:
            self.fast.take_out()

    def _work(self, feed: Feed) -> torch.Tensor:
        self._gradient(feed)
        return self._update()

    def _gradient(self, feed: Feed) -> torch.Tensor:
        """What this card adds to a step's gradient and loss, all of it in `flat`."""
        plan = self.session.plan
        for weight in self.weights:
            weight.grad = None
        if self.half:
            torch._foreach_copy_(self.copies, list(self.masters))
        rows: dict[str, Any] = {}
        if self.fast and self.fast.apart:
            filler = feed.bucket.tokens - feed.bucket.least
            rows = {"cu_seq_lens_q": feed.edges.int(), "max_length_q": max(self.longest, filler)}
        with autocast(plan.compute.value, self.cuda):
            out = self.inner.get_decoder()(
                input_ids=feed.ids, position_ids=feed.places, use_cache=False, **rows
            )
            hidden = out.last_hidden_state[0]
            counted = (feed.order < feed.count[0]).float()
            summed = LabelLoss.apply(  # type: ignore[no-untyped-call]
                hidden.index_select(0, feed.where), self.head, feed.target, self.cap, counted
            )
            loss = aim = summed / feed.count[1]
            if self.bank is not None:
                apart = self.bank.loss(hidden.index_select(0, feed.starts), feed.numbers)
                aim = loss + plan.contrast.value * apart / plan.effective_batch
        torch.autograd.backward(aim)
        if self.bank is not None:
            self.bank.remember()
        torch._foreach_copy_(self.grads, [w.grad for w in self.weights if w.grad is not None])
        self.said.copy_(torch.stack([loss.detach().float(), feed.count[2].float()]))
        return self.said

    def _update(self) -> torch.Tensor:
        """Takes the step of the gradient in `flat`."""
        norm = torch.nn.utils.clip_grad_norm_(self.masters, CLIP)
        self.optimizer.step()
        return torch.stack([self.said[0], norm.float(), self.said[1]])

    def _record(self, work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        for weight in self.weights:
            weight.grad = None  # so that the gradients' memory is the graph's own
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            out = work()

        def replay() -> torch.Tensor:
            graph.replay()
            return out

        return replay

    def _warm_up(self, feed: Feed) -> None:
        """Two steps on a stream of their own, as recording asks for, and everything put back."""
        state = copy.deepcopy(self.optimizer.state_dict()["state"])
        weights = [w.detach().clone() for w in self.masters]
        states = self.bank.states.clone() if self.bank else None
        random = torch.cuda.get_rng_state()
        torch.cuda.empty_cache()  # what another stream held is of no use to this one
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(aside):
                for _ in range(2):
                    self._work(feed)
        finally:  # also where memory was short in the middle
            torch.cuda.current_stream().wait_stream(aside)
            with torch.no_grad():
                for weight, before in zip(self.masters, weights, strict=True):
                    weight.copy_(before)
                for number, weight in enumerate(self.masters):
                    for name, value in self.optimizer.state[weight].items():
                        value.copy_(state[number][name]) if state else value.zero_()
                if self.bank is not None and states is not None:
                    self.bank.states.copy_(states)
            torch.cuda.set_rng_state(random)


@resumable
def run(session: Session, resume: bool) -> None:
    """All steps of the session's plan that are not done yet."""
    plan, model = session.plan, session.model
    cuda = session.device.startswith("cuda")
    # The optimizer's own: they are the model's weights too, or the model's are their half copies.
    masters = [torch.nn.Parameter(p.data) for p in model.parameters() if p.requires_grad]
    rate = torch.zeros((), device=session.device)
    optimizer = torch.optim.AdamW(masters, lr=rate, weight_decay=0.0, fused=True, capturable=cuda)
    # The rate is a number on the device, which the graph reads; the schedule is kept beside it.
    clock = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=plan.learning_rate.value)
    scheduler = schedule(plan, clock)
    _, bank = look(session)
    moving = Moving(model, optimizer, scheduler, None, bank, session.device)
    guard = Guard(session, moving)
    done = moving.restore(session.folder) if resume else 0
    for group in optimizer.param_groups:
        group.update(lr=rate, capturable=cuda)
    session.back_to(done)
    cards = session.cards
    steps = list(session.batches())
    mine = [cards.shares(rows, session.lengths)[cards.rank] for rows in steps]
    buckets = buckets_of(session, mine[done:])
    recorder = Recorder(session, optimizer, bank, masters)
    todo = list(zip(steps, mine, strict=True))[done:]
    if _no_room(session, recorder, buckets, todo):
        recorder.finish()
        if bank is not None:
            bank.forget()
        climb_down(session, done + 1)
        lean.run(session, False, (moving.state(done), bank))
        return
    running: _Running | None = None
    for number, (rows, own) in enumerate(todo, start=done + 1):
        share = share_of(session, rows, own)
        now = guard.rate(number, scheduler.get_last_lr()[0])
        rate.fill_(now)
        if guard.due(number - 1):
            with recorder.whole():
                guard.keep(number - 1)
        wrong, short = "", False
        try:
            out = recorder.step(fitting(buckets, share.rows), share)
        except RuntimeError as error:  # while recording: the step was not taken
            short = _lacks(error) and cards.world == 1
            if not short:
                raise
        else:
            clock.step()
            scheduler.step()
        if running is not None:
            wrong = running.say(session, guard)
        running = None if short else _Running(number, now, out)
        due = session.save_after(number)
        if running is not None and not wrong and (due or number == len(steps)):
            wrong, running = running.say(session, guard), None
        if short or wrong:
            recorder.finish()
            if bank is not None:
                bank.forget()
            number = guard.back(number, wrong) if wrong else number - 1
            if not wrong:
                climb_down(session, number + 1)
            lean.run(session, False, (moving.state(number), bank))
            return
        if due:
            if cards.first:
                with recorder.whole():
                    moving.save(session.folder, number, session.of, plan.keep.value)
                    if session.looks_after(number):
                        with recorder.plain():
                            session.show_after(number)
            session.stop_after(number)
    recorder.finish()


def _no_room(
    session: Session,
    recorder: Recorder,
    buckets: list[Bucket],
    steps: Sequence[tuple[list[int], list[int]]],
) -> bool:
    """Records what has to be before the first step; whether memory was short on any card.

    The largest bucket first: the memory of its steps then serves all others, where that of a
    smaller one would be held beside it. Of several cards all buckets, as a card that falls out once
    a step runs would leave the others waiting.
    """
    short = False
    first: dict[Bucket, Share] = {}
    for rows, own in steps:
        share = share_of(session, rows, own)
        first.setdefault(fitting(buckets, share.rows), share)
        if len(first) == len(buckets):
            break
    try:
        for bucket in [b for b in reversed(buckets) if b in first]:
            recorder.open(bucket, first[bucket])
            if session.cards.world == 1:
                break
    except RuntimeError as error:
        short = _lacks(error)
        if not short:
            raise
    return session.cards.any(short)


def _lacks(error: RuntimeError) -> bool:
    return short_of_memory(error) or short_of_memory(error.__context__)


class _Running:
    """A step whose loss is on its way to the host."""

    def __init__(self, number: int, rate: float, out: torch.Tensor) -> None:
        self.number, self.rate = number, rate
        self.come: torch.cuda.Event | None = None
        self.values = out
        if out.is_cuda:
            self.values = torch.empty(3, pin_memory=True)
            self.values.copy_(out, non_blocking=True)
            self.come = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.come.record()

    def say(self, session: Session, guard: Guard) -> str:
        """Tells the step, or gives back what is wrong with it."""
        if self.come is not None:
            self.come.synchronize()
        loss, norm, asked = self.values.tolist()
        if session.cards.world > 1 and asked > 0:
            session.asked.stop = True
        wrong = guard.wrong(self.number, loss, norm)
        if not wrong:
            session.say(self.number, loss, self.rate, norm)
        return wrong
