"""The loop: rows, validations, the best, checkpoints, and when it ends."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch

from vemctl.errors import TrainingError
from vemctl.events import Noted, StepsDone, Validated
from vemctl.learning import Batch, Best, Validation
from vemctl.nn.gradients import GradientSteps
from vemctl.training.loop import Loop
from vemctl.training.schedule import Schedule
from vemctl.training.world import World


class Numbers:
    """A trainer whose losses and scores are given; it learns nothing."""

    def __init__(
        self, losses: Sequence[float], scores: Sequence[float] = (), best: Best | None = None
    ) -> None:
        self.losses, self.scores, self.best = list(losses), list(scores), best
        self.steps = self.validations = 0
        self.spoilt = 1.0
        self.noted: list[Mapping[str, float]] = []

    def step(self, batches: Sequence[Batch]) -> Mapping[str, torch.Tensor]:
        loss = self.losses[self.steps % len(self.losses)]
        self.steps += 1
        return {"loss": torch.tensor(loss), "part": torch.tensor(0.5)}

    def validate(self, samples: Any) -> Validation:
        score = self.scores[self.validations]
        self.validations += 1
        return Validation({"score": score}, {})

    def validated(self, metrics: Mapping[str, float]) -> None:
        self.noted.append(metrics)

    def weights(self) -> Mapping[str, torch.Tensor]:
        return {"weight": torch.tensor(self.spoilt)}

    def learning_rates(self) -> Mapping[str, float]:
        return {"adam": 0.1}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "validations": self.validations}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.validations = state["steps"], state["validations"]


class Kept:
    """Remembers what a loop gives it."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.states: dict[int, dict[str, Any]] = {}
        self.bests: list[int] = []

    def row(self, step: int, values: Mapping[str, float]) -> None:
        assert step not in self.rows
        self.rows[step] = dict(values)

    def checkpoint(self, step: int, state: dict[str, Any], trainer: Any) -> None:
        assert step not in self.states
        self.states[step] = state

    def best(self, step: int, trainer: Any) -> None:
        self.bests.append(step)

    def preview(self, step: int, validation: Validation) -> None:
        pass


def schedule(**changes: Any) -> Schedule:
    """Return a schedule of ten steps."""
    facts: dict[str, Any] = {
        "steps": 10, "seconds": None, "validate_every": 5, "log_every": 2,
        "checkpoint_steps": None, "checkpoint_seconds": None, "patience": None, "seed": 0,
    }  # fmt: skip
    return Schedule(**facts | changes)


def make(trainer: Numbers, kept: Kept, events: list[Any] | None = None, **changes: Any) -> Loop:
    """Return a loop on one device."""
    listen = (lambda event: None) if events is None else events.append
    stop = changes.pop("stop", threading.Event())
    return Loop(trainer, GradientSteps(), schedule(**changes), kept, World(), "cpu", listen, stop)  # type: ignore[arg-type]


def batches(first: int) -> Iterator[list[Batch]]:
    """Return empty batches for ever."""
    return ([{}] for _ in itertools.count(first))


def test_rows_hold_means_since_the_row_before() -> None:
    """Every second step, at a validation, and at the end."""
    kept = Kept()
    trainer = Numbers(range(1, 11), [0.1, 0.2])
    outcome = make(trainer, kept).run(batches, list)
    assert (outcome.step, outcome.reason) == (10, "steps")
    losses = {step: row["loss"] for step, row in kept.rows.items()}
    assert losses == {2: 1.5, 4: 3.5, 5: 5.0, 6: 6.0, 8: 7.5, 10: 9.5}
    assert kept.rows[2] == {"loss": 1.5, "part": 0.5, "lr_adam": 0.1}
    assert kept.rows[5]["score"] == 0.1
    assert list(kept.states) == [10]
    assert trainer.noted == [{"score": 0.1}, {"score": 0.2}]


@pytest.mark.parametrize(
    ("sense", "scores", "bests"),
    [
        ("max", [1, 3, 2, 4], [5, 10, 20]),
        ("min", [3, 1, 2, 1], [5, 10]),
        ("max", [math.nan, 1, math.nan, 2], [10, 20]),
    ],
)
def test_the_best_is_kept_when_it_is_better(
    sense: Any, scores: list[float], bests: list[int]
) -> None:
    """More, or less, is better; what is no number never is, nor is the same again."""
    kept, events = Kept(), []
    trainer = Numbers([1.0], scores, Best("score", sense))
    make(trainer, kept, events, steps=20).run(batches, list)
    assert kept.bests == bests
    told = [event.step for event in events if isinstance(event, Validated) and event.is_best]
    assert told == bests


class JudgedFirst(Numbers):
    """A trainer that wants to know how good it is before it has learnt anything."""

    judge_first = True


def test_a_trainer_may_be_judged_before_the_first_step() -> None:
    """With a row, an event and, if it gets no better, the best weights of step 0."""
    kept, events = Kept(), []
    trainer = JudgedFirst([1.0], [3, 2, 4], Best("score", "max"))
    outcome = make(trainer, kept, events).run(batches, list)
    assert kept.rows[0] == {"lr_adam": 0.1, "score": 3}
    told = [(event.step, event.is_best) for event in events if isinstance(event, Validated)]
    assert told == [(0, True), (5, False), (10, True)]
    assert kept.bests == [0, 10]
    assert outcome.best == {"metric": "score", "score": 4, "step": 10}
    assert kept.rows[2]["loss"] == 1.0


def test_the_first_judgement_is_not_repeated_and_needs_samples() -> None:
    """A continued run has it already; patience counts from it."""
    first, second, stop = Kept(), Kept(), threading.Event()
    stop.set()
    scores = [3, 2, 1]
    make(JudgedFirst([1.0], scores, Best("score", "max")), first, stop=stop).run(batches, list)
    loop = make(JudgedFirst([1.0], scores, Best("score", "max")), second, patience=2)
    loop.load_state_dict(first.states[1])
    outcome = loop.run(batches, list)
    assert (0 in first.rows, 0 in second.rows) == (True, False)
    assert outcome.reason == "patience"
    assert outcome.best == {"metric": "score", "score": 3, "step": 0}
    kept = Kept()
    make(JudgedFirst([1.0]), kept).run(batches, None)
    assert 0 not in kept.rows


def test_patience_ends_a_training_that_gets_no_better() -> None:
    """After so many validations, with a checkpoint."""
    kept = Kept()
    trainer = Numbers([1.0], [5, 4, 3, 9], Best("score", "max"))
    outcome = make(trainer, kept, steps=100, patience=2).run(batches, list)
    assert (outcome.step, outcome.reason) == (15, "patience")
    assert outcome.best == {"metric": "score", "score": 5, "step": 5}
    assert 15 in kept.states


@pytest.mark.parametrize("step", range(1, 10))
def test_a_continued_loop_writes_the_rows_of_an_uninterrupted_one(step: int) -> None:
    """Whatever the step at which it was stopped."""
    whole = Kept()
    make(Numbers(range(1, 11), [1, 2], Best("score", "max")), whole).run(batches, list)
    first, second, stop = Kept(), Kept(), threading.Event()

    def until(start: int) -> Iterator[list[Batch]]:
        for number in itertools.count(start):
            if number == step - 1:
                stop.set()
            yield [{}]

    trainer = Numbers(range(1, 11), [1, 2], Best("score", "max"))
    outcome = make(trainer, first, stop=stop).run(until, list)
    assert (outcome.step, outcome.reason) == (step, "stopped")
    loop = make(Numbers(range(1, 11), [1, 2], Best("score", "max")), second)
    loop.load_state_dict(first.states[step])
    loop.run(batches, list)
    assert first.rows | second.rows == whole.rows
    assert not first.rows.keys() & second.rows.keys()
    assert first.bests + second.bests == whole.bests


def test_checkpoints_come_at_their_steps_and_after_their_time() -> None:
    """And once only at the end."""
    kept = Kept()
    make(Numbers([1.0]), kept, checkpoint_steps=4).run(batches, None)
    assert list(kept.states) == [4, 8, 10]
    kept = Kept()
    make(Numbers([1.0]), kept, steps=3, checkpoint_seconds=1e-9).run(batches, None)
    assert list(kept.states) == [1, 2, 3]


def test_time_ends_a_training_where_it_can_be_continued() -> None:
    """With a checkpoint, and no row that the continued run would not write."""
    kept = Kept()
    outcome = make(Numbers([1.0]), kept, steps=None, seconds=0.0).run(batches, None)
    assert (outcome.step, outcome.reason) == (1, "time")
    assert kept.rows == {}
    assert list(kept.states) == [1]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_step_and_term(wrong: float) -> None:
    """Nothing of it is kept."""
    kept = Kept()
    trainer = Numbers([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, wrong])
    with pytest.raises(
        TrainingError, match=r"step 7: the loss loss became .* of step 4 is"
    ) as told:
        make(trainer, kept, checkpoint_steps=4).run(batches, None)
    assert "\n" not in str(told.value)
    assert list(kept.states) == [4]
    assert max(kept.rows) == 6


def test_a_checkpoint_is_never_of_a_step_with_such_a_loss() -> None:
    """It is looked at before it is saved, however rarely rows are written."""
    kept = Kept()
    with pytest.raises(TrainingError, match=r"step 3.*no checkpoint was saved yet"):
        make(Numbers([1.0, 1.0, math.nan]), kept, log_every=100, checkpoint_steps=5).run(
            batches, None
        )
    assert kept.states == {}


def test_a_checkpoint_never_holds_parameters_that_an_update_has_spoilt() -> None:
    """The loss of that step was computed before the update."""
    kept = Kept()

    class Spoiling(Numbers):
        def step(self, batches: Sequence[Batch]) -> Mapping[str, torch.Tensor]:
            losses = super().step(batches)
            self.spoilt = math.nan if self.steps == 4 else 1.0
            return losses

    with pytest.raises(TrainingError, match=r"step 4: parameters weight .* of step 2 is from"):
        make(Spoiling([1.0]), kept, checkpoint_steps=2).run(batches, None)
    assert list(kept.states) == [2]


def test_events_tell_steps_and_a_moving_average() -> None:
    """The first loss is the one to watch."""
    events: list[Any] = []
    make(Numbers([1.0, 3.0]), Kept(), events, steps=4).run(batches, None)
    told = [event for event in events if isinstance(event, StepsDone)]
    assert [(event.step, event.total, event.steps) for event in told] == [(2, 4, 2), (4, 4, 2)]
    assert told[0].losses == {"loss": 2.0, "part": 0.5}
    assert 1.0 < told[0].smoothed < told[1].smoothed < 3.0


def test_chance_in_a_network_depends_on_seed_and_step_alone() -> None:
    """A continued run draws what an uninterrupted one draws."""
    drawn: list[float] = []

    class Chance(Numbers):
        def step(self, batches: Sequence[Batch]) -> Mapping[str, torch.Tensor]:
            drawn.append(float(torch.rand(())))
            return super().step(batches)

    make(Chance([1.0]), Kept(), steps=6).run(batches, None)
    whole = drawn[:]
    drawn.clear()
    loop = make(Chance([1.0]), Kept(), steps=6)
    loop.progress.step = 3
    loop.run(batches, None)
    assert drawn == whole[3:]
    assert len(set(whole)) == 6
    drawn.clear()
    make(Chance([1.0]), Kept(), steps=6, seed=1).run(batches, None)
    assert not set(drawn) & set(whole)


def test_what_a_validation_warns_of_is_told_with_its_step() -> None:
    """A trainer does not speak by itself."""
    trainer, events = Numbers([1.0], [0.5]), []
    found = Validation({"score": 0.5}, {}, warnings=["the contrast is inverted"])
    trainer.validate = lambda samples: found
    make(trainer, Kept(), events, steps=2, validate_every=2).run(batches, list)
    told = [event for event in events if isinstance(event, Noted)]
    assert [(event.text, event.level) for event in told] == [
        ("step 2: the contrast is inverted", "warning")
    ]
