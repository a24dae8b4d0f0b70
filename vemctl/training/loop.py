"""The one loop of all trainings: steps, validations, checkpoints, and when to stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vemctl.errors import TrainingError
from vemctl.events import Listener, Noted, StepsDone, Validated
from vemctl.learning import Batch, Trainer
from vemctl.nn.gradients import GradientSteps
from vemctl.training.best_score import better
from vemctl.training.metrics import RATE
from vemctl.training.schedule import Keeper, Outcome, Progress, Schedule
from vemctl.training.world import World

if TYPE_CHECKING:
    import torch

SMOOTHING = 0.98
"""Weight of what was in the moving average of the loss."""

Batches = Callable[[int], Iterator[list[Batch]]]
"""From the first step to do, the batches of each step on this process' device."""


class Loop:
    """Trains until the schedule, or `stop`, ends it.

    Parameters
    ----------
    trainer : Trainer
    gradients : GradientSteps
        Those that the trainer was made with.
    schedule : Schedule
    keeper : Keeper
    world : World
    device : str
        Of this process.
    listen : Listener
    stop : threading.Event
        Set it to end with a checkpoint.
    """

    def __init__(
        self,
        trainer: Trainer,
        gradients: GradientSteps,
        schedule: Schedule,
        keeper: Keeper,
        world: World,
        device: str,
        listen: Listener,
        stop: threading.Event,
    ) -> None:
        self._trainer = trainer
        self._gradients = gradients
        self._schedule = schedule
        self._keeper = keeper
        self._world = world
        self._device = device
        self._listen = listen
        self._stop = stop
        self.progress = Progress()
        self._pending: list[Mapping[str, torch.Tensor]] = []
        self._saved_at = -1

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on."""
        return {
            "progress": dict(vars(self.progress)),
            "trainer": self._trainer.state_dict(),
            "gradients": self._gradients.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.progress = Progress(**state["progress"])
        self._trainer.load_state_dict(state["trainer"])
        self._gradients.load_state_dict(state["gradients"])
        self._saved_at = self.progress.step

    def run(self, batches: Batches, samples: Callable[[], Iterable[Batch]] | None) -> Outcome:
        """Train.

        Parameters
        ----------
        batches : callable
        samples : callable, optional
            Returns the samples to validate on; None where there are none.

        Raises
        ------
        TrainingError
            A loss is no finite number; the last checkpoint is from before.
        """
        schedule, progress = self._schedule, self.progress
        began = time.monotonic()
        judges_first = progress.step == 0 and getattr(self._trainer, "judge_first", False)
        if judges_first and samples is not None:
            self._keeper.row(0, self._rates() | self._validate(samples()))
        saved = told = time.monotonic()
        told_step = progress.step
        reason = ""
        coming = batches(progress.step)
        try:
            while not reason:
                if schedule.steps is not None and progress.step >= schedule.steps:
                    reason = "steps"
                    break
                self._step(next(coming))
                is_last = progress.step == schedule.steps
                validates = samples is not None and (
                    is_last or progress.step % schedule.validate_every == 0
                )
                if validates or is_last or progress.step % schedule.log_every == 0:
                    losses = self._settle()
                    self._tell(losses, time.monotonic() - told, progress.step - told_step)
                    row = dict(losses) | self._rates()
                    if validates and samples is not None:
                        row |= self._validate(samples())
                        if schedule.patience is not None and progress.waited >= schedule.patience:
                            reason = "patience"
                    self._keeper.row(progress.step, row)
                    progress.sums, progress.summed = {}, 0
                    told, told_step = time.monotonic(), progress.step
                stopped, late, due = self._asked(began, saved)
                reason = reason or ("stopped" if stopped else "time" if late else "")
                if reason or is_last or due:
                    before = time.monotonic()
                    self.save()
                    saved = time.monotonic()
                    told += saved - before
        finally:
            if hasattr(coming, "close"):
                coming.close()
        return Outcome(progress.step, progress.best, reason)

    def save(self) -> None:
        """Keep a checkpoint of this step, unless there is one."""
        self._settle()
        if self._saved_at != self.progress.step:
            self._check_parameters()
            self._keeper.checkpoint(self.progress.step, self.state_dict(), self._trainer)
            self._saved_at = self.progress.step

    def _step(self, micro_batches: list[Batch]) -> None:
        import torch

        # Whatever a network draws at random depends on the step alone.
        # Mixed, for torch takes no more than 32 bits of a seed on the CPU.
        parts = np.random.SeedSequence([self._schedule.seed, self.progress.step, self._world.rank])
        torch.manual_seed(int(parts.generate_state(1)[0]))
        self._pending.append(self._trainer.step(micro_batches))
        self.progress.step += 1

    def _settle(self) -> dict[str, float]:
        """Fetch the losses from the device, check them, return their means since the last row."""
        import torch

        progress = self.progress
        if self._pending:
            names = list(self._pending[0])
            table = torch.stack(
                [torch.stack([losses[name].float() for name in names]) for losses in self._pending]
            )
            first = progress.step - len(self._pending) + 1
            self._pending = []
            for number, values in enumerate(self._world.mean(table).cpu().double().tolist()):
                self._check(dict(zip(names, values, strict=True)), first + number)
                before = values[0] if progress.smoothed is None else progress.smoothed
                progress.smoothed = SMOOTHING * before + (1 - SMOOTHING) * values[0]
                for name, value in zip(names, values, strict=True):
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                progress.summed += 1
        return {name: total / progress.summed for name, total in progress.sums.items()}

    def _check(self, losses: Mapping[str, float], step: int) -> None:
        wrong = [name for name, value in losses.items() if not math.isfinite(value)]
        if wrong:
            raise self._astray(f"step {step}: the loss {wrong[-1]} became {losses[wrong[-1]]}")

    def _check_parameters(self) -> None:
        """Refuse to keep what the last update has spoilt; the next loss would be too late."""
        for name, value in self._trainer.weights().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise self._astray(f"step {self.progress.step}: parameters {name} are no numbers")

    def _astray(self, what: str) -> TrainingError:
        kept = "no checkpoint was saved yet; nothing"
        if self._saved_at > 0:
            kept = f"the checkpoint of step {self._saved_at}"
        return TrainingError(
            f"{what}; {kept} is from before: continue with --resume --allow-changes and a lower "
            f"learning rate, --clip 1, or --precision fp32"
        )

    def _rates(self) -> dict[str, float]:
        return {f"{RATE}{name}": rate for name, rate in self._trainer.learning_rates().items()}

    def _tell(self, losses: Mapping[str, float], seconds: float, steps: int) -> None:
        total = self._schedule.steps or 0
        smoothed = self.progress.smoothed or 0.0
        self._listen(StepsDone(self.progress.step, total, losses, smoothed, seconds, steps))

    def _validate(self, samples: Iterable[Batch]) -> dict[str, float]:
        validation = self._trainer.validate(samples)
        metrics: dict[str, float] = self._world.share(dict(validation.metrics))
        self._trainer.validated(metrics)
        progress = self.progress
        record = better(self._trainer.best, progress.best, progress.step, metrics)
        is_best = record is not None
        progress.best = record or progress.best
        progress.waited = 0 if is_best else progress.waited + 1
        self._listen(Validated(progress.step, metrics, is_best))
        for text in validation.warnings:
            self._listen(Noted(f"step {progress.step}: {text}", "warning"))
        self._keeper.preview(progress.step, validation)
        if is_best:
            self._check_parameters()
            self._keeper.best(progress.step, self._trainer)
        return metrics

    def _asked(self, began: float, saved: float) -> list[bool]:
        """Return whether to stop, whether time is up, and whether a checkpoint is due."""
        schedule, now, first = self._schedule, time.monotonic(), self._world.is_first
        late = schedule.seconds is not None and now - began >= schedule.seconds
        due = schedule.checkpoint_seconds is not None and now - saved >= schedule.checkpoint_seconds
        every = schedule.checkpoint_steps
        due_by_step = every is not None and self.progress.step % every == 0
        # Clocks differ, so that of the first process counts.
        flags = [self._stop.is_set(), late and first, (due and first) or due_by_step]
        return self._world.any(flags, self._device)
