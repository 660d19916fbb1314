"""Train a learner, epoch by epoch, to turn photos into vectors that tell people apart.

After every epoch the vectors of other people are measured; the best epoch is kept. A run that was
killed continues from its checkpoint.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.datasets.atomic import atomic_write
from models.datasets.labelled import pair_places
from models.errors import LikenessError
from models.evaluation.comparisons import compare
from models.evaluation.rates import fnmr_at, threshold_at
from models.training.loss import IdentityLoss
from models.training.options import Options
from models.training.plan import Epoch, Split

_PAIRS = 1_000_000
# A rate that rests on fewer false matches depends too much on chance.
_FALSE_MATCHES = 10


class TarMetric:
    """Measure TAR at the strictest of FMR 1e-1, 1e-2 and 1e-3 that the photos support."""

    def __init__(self, identities: NDArray[np.int64]) -> None:
        self._identities = identities
        self._pairs = pair_places(identities, _PAIRS)
        a, b = self._pairs
        impostors = int(np.sum(identities[a] != identities[b]))
        supported = [fmr for fmr in (1e-3, 1e-2) if fmr * impostors >= _FALSE_MATCHES]
        self.fmr = supported[0] if supported else 1e-1

    def __call__(self, vectors: NDArray[np.float32]) -> float:
        """Return the TAR of unit vectors `(n, d)`, one for each photo."""
        enrolled = np.ones(len(vectors), bool)
        comparisons = compare(vectors, self._identities, enrolled, *self._pairs)
        return 1 - fnmr_at(comparisons.genuine, threshold_at(comparisons.impostor, self.fmr))


@dataclass(frozen=True, slots=True)
class Identities:
    """Hold the number of the person on each photo, one array `(n,)` for each part.

    The people of `train` are numbered from 0 without gaps. `held_out` are other photos of the
    same people, and `validation` are photos of other people.
    """

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    validation: NDArray[np.int64]

    @classmethod
    def of(cls, people: NDArray[np.int64], split: Split) -> "Identities":
        """Return the identities of a split of photos, whose people are any numbers `(n,)`."""
        trained, train = np.unique(people[split.train], return_inverse=True)
        held_out = np.searchsorted(trained, people[split.held_out])
        return cls(train.astype(np.int64), held_out.astype(np.int64), people[split.validation])


class Learner(Protocol):
    """Turn photos into vectors, with weights that can be trained."""

    @property
    def module(self) -> nn.Module:
        """Return the module with the weights; those that require a gradient are trained."""

    def vectors(self, places: Tensor, random: torch.Generator) -> Tensor:
        """Return the vectors `(n, d)` of training photos for one step, on the CPU."""

    def evaluation_vectors(self) -> tuple[Tensor, Tensor]:
        """Return the unit vectors of the held-out photos and of the validation photos."""


class Training:
    """Run the training of a learner, and keep the best weights.

    Every epoch is written to `checkpoint`. A run that was killed continues after its last epoch
    and reaches the same numbers. `about` identifies the training data; raises LikenessError if
    the checkpoint is of other data or other options. With `keep_start` the first weights can be
    the best; random first weights never can.
    """

    def __init__(
        self,
        learner: Learner,
        identities: Identities,
        options: Options,
        checkpoint: Path,
        about: str,
        keep_start: bool,
    ) -> None:
        self._learner = learner
        self._options = options
        self._checkpoint = checkpoint
        self._held_out = identities.held_out
        self._train = torch.from_numpy(identities.train)
        self._tar_metric = TarMetric(identities.validation)
        self._keep_start = keep_start
        self._started_with = json.dumps([about, asdict(options)])
        torch.manual_seed(options.seed)
        classes = int(self._train.max()) + 1
        self._loss = IdentityLoss(
            options.loss, classes, options.dimension, options.scale, options.margin
        )
        self._weights = {n: p for n, p in learner.module.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(
            [*self._weights.values(), *self._loss.parameters()], weight_decay=options.weight_decay
        )
        self._chances = torch.bincount(self._train).float()[self._train] ** -options.balance
        self._best = self._copy()
        self.history: list[Epoch] = []
        if checkpoint.exists():
            self._resume()
        else:
            self._aim()

    @property
    def fmr(self) -> float:
        """Return the FMR at which the TAR of the validation photos is measured."""
        return self._tar_metric.fmr

    @property
    def finished(self) -> bool:
        """Tell whether all epochs are done or there was no progress for too long."""
        if not self.history:
            return False
        last = self.history[-1].number
        best = max((epoch.number for epoch in self.history if epoch.best), default=0)
        return last >= self._options.epochs or last - best >= self._options.patience

    def epochs(self) -> Iterator[Epoch]:
        """Train and yield every epoch, then give the learner the weights of the best epoch."""
        while not self.finished:
            epoch = self._run_epoch(len(self.history))
            self.history.append(epoch)
            if epoch.best:
                self._best = self._copy()
            self._save()
            yield epoch
        self._put(self._best)

    def _run_epoch(self, number: int) -> Epoch:
        started = time.perf_counter()
        losses, rate = self._learn(number) if number else ([], 0.0)
        held_out, validation = self._learner.evaluation_vectors()
        tar = self._tar_metric(validation.numpy())
        return Epoch(
            number,
            rate,
            float(np.mean(losses)) if losses else None,
            self._accuracy(held_out),
            tar,
            self._is_best(number, tar),
            time.perf_counter() - started,
        )

    def _is_best(self, number: int, tar: float) -> bool:
        first = 0 if self._keep_start else 1
        earlier = (epoch.tar for epoch in self.history if epoch.number >= first)
        return number >= first and tar > max(earlier, default=-1.0)

    def _learn(self, number: int) -> tuple[list[float], float]:
        """Train one epoch; return the loss of every step and the last learning rate."""
        # The seed depends only on the epoch, so that a resumed run draws the same numbers.
        random = torch.Generator().manual_seed(self._options.seed * 100_003 + number)
        torch.manual_seed(self._options.seed * 100_003 + number)
        batches = torch.split(self._order(random), self._options.batch)
        losses, rate = [], 0.0
        for at, places in enumerate(batches):
            rate = self._rate(number - 1 + at / len(batches))
            losses.append(self._step(places, rate, number, random))
        return losses, rate

    @torch.no_grad()
    def _aim(self) -> None:
        random = torch.Generator().manual_seed(self._options.seed)
        places = torch.split(torch.arange(len(self._train)), self._options.batch)
        vectors = torch.cat([self._learner.vectors(part, random) for part in places])
        self._loss.aim(vectors, self._train)

    def _order(self, random: torch.Generator) -> Tensor:
        count = len(self._train)
        if not self._options.balance:
            return torch.randperm(count, generator=random)
        return torch.multinomial(self._chances, count, replacement=True, generator=random)

    def _rate(self, done: float) -> float:
        """Return the rate after `done` epochs: it rises in the first epoch, then falls to zero."""
        fall = (1 + cos(pi * done / self._options.epochs)) / 2
        return self._options.rate * min(1.0, done + 0.05) * fall

    def _step(self, places: Tensor, rate: float, epoch: int, random: torch.Generator) -> float:
        losses = self._loss(self._learner.vectors(places, random), self._train[places])
        kept = len(losses) - int(self._share_to_ignore(epoch) * len(losses))
        loss = losses.topk(kept, largest=False).values.mean()
        self._optimizer.zero_grad(set_to_none=True)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights.values(), 5.0)
        self._optimizer.step()
        return float(loss.detach())

    def _share_to_ignore(self, epoch: int) -> float:
        """Return the share of photos to ignore in an epoch, which rises to `noise`.

        In the first epochs a high loss does not yet mean a wrong label (Han et al. 2018,
        co-teaching).
        """
        return self._options.noise * min(1.0, (epoch - 1) / (0.3 * self._options.epochs))

    @torch.inference_mode()
    def _accuracy(self, vectors: Tensor) -> float | None:
        """Return the share of held-out photos whose nearest identity is right, or None."""
        if not len(vectors):
            return None
        nearest = self._loss.cosines(vectors).argmax(1).numpy()
        return float(np.mean(nearest == self._held_out))

    def _copy(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])

    def _save(self) -> None:
        state = {
            "started_with": self._started_with,
            "weights": self._copy(),
            "loss": self._loss.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "history": json.dumps([asdict(epoch) for epoch in self.history]),
        }
        with atomic_write(self._checkpoint) as file:
            torch.save(state, file)

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        if state["started_with"] != self._started_with:
            raise LikenessError(
                f"{self._checkpoint} belongs to a run on other photos or with other options. "
                "Remove it to start again, or name another folder."
            )
        self._put(state["weights"])
        self._loss.load_state_dict(state["loss"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self.history = [Epoch(**epoch) for epoch in json.loads(state["history"])]
