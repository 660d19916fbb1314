"""Train heads on invented features, in which identities are directions with noise."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import LikenessError
from models.training.head import Features, HeadLearner
from models.training.loop import Identities, Training
from models.training.options import LossName, Options
from models.training.plan import Epoch

OPTIONS = Options(hidden=64, dimension=32, epochs=12, batch=64, rate=1e-2, seed=3)
WIDTH, SIGNAL = 40, 12


def draw(people: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Draw two views of each photo: a direction of the person in some features, noise in others."""
    centres = np.random.default_rng(0).normal(0, 1, (200, SIGNAL))
    random = np.random.default_rng(seed)
    views = random.normal(0, 2.0, (len(people), 2, WIDTH))
    views[:, :, :SIGNAL] = centres[people][:, None] + random.normal(
        0, 0.4, (len(people), 2, SIGNAL)
    )
    return views.astype(np.float32)


TRAIN = np.repeat(np.arange(30), 12)
HELD_OUT = np.repeat(np.arange(30), 2)
VALIDATION = np.repeat(np.arange(100, 120), 6)
FEATURES = Features(draw(TRAIN, 1), draw(HELD_OUT, 2), draw(VALIDATION, 3))


def run(
    folder: Path,
    options: Options = OPTIONS,
    labels: NDArray[np.int64] = TRAIN,
    about: str = "invented",
    keep_start: bool = False,
) -> tuple[Training, HeadLearner]:
    learner = HeadLearner(FEATURES, options)
    identities = Identities(labels, HELD_OUT, VALIDATION)
    training = Training(
        learner, identities, options, folder / "head.pt", about, keep_start=keep_start
    )
    return training, learner


def finish(
    folder: Path, options: Options = OPTIONS, labels: NDArray[np.int64] = TRAIN
) -> list[Epoch]:
    training, _ = run(folder, options, labels)
    return list(training.epochs())


def timeless(history: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0) for epoch in history]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[Epoch]:
    return finish(tmp_path_factory.mktemp("run"))


def test_training_separates_people_it_has_not_seen(history: list[Epoch]) -> None:
    assert max(epoch.tar for epoch in history) > history[0].tar + 0.2


def test_training_names_held_out_photos_of_people_it_knows(history: list[Epoch]) -> None:
    assert (history[-1].accuracy or 0) > 0.9


def test_the_loss_falls(history: list[Epoch]) -> None:
    first, *_, last = [epoch.loss for epoch in history if epoch.loss is not None]
    assert last < first / 2


def test_the_same_seed_gives_the_same_run(history: list[Epoch], tmp_path: Path) -> None:
    assert timeless(finish(tmp_path)) == timeless(history)


def test_another_seed_gives_another_run(history: list[Epoch], tmp_path: Path) -> None:
    assert timeless(finish(tmp_path, replace(OPTIONS, seed=4))) != timeless(history)


def test_a_killed_run_goes_on_to_the_same_numbers(history: list[Epoch], tmp_path: Path) -> None:
    epochs = run(tmp_path)[0].epochs()
    for _ in range(3):
        next(epochs)  # and then stop, as after a kill
    training, _ = run(tmp_path)
    list(training.epochs())
    assert timeless(training.history) == timeless(history)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    finish(tmp_path)
    assert finish(tmp_path) == []


def test_a_finished_run_still_gives_its_best_head(tmp_path: Path) -> None:
    training, learner = run(tmp_path)
    list(training.epochs())
    again, resumed = run(tmp_path)
    list(again.epochs())
    for name, weight in resumed.head().state_dict().items():
        np.testing.assert_array_equal(weight.numpy(), learner.head().state_dict()[name].numpy())


def test_a_checkpoint_of_other_options_is_refused(tmp_path: Path) -> None:
    finish(tmp_path)
    with pytest.raises(LikenessError, match="other options"):
        run(tmp_path, replace(OPTIONS, rate=0.5))


def test_a_checkpoint_of_other_photos_is_refused(tmp_path: Path) -> None:
    finish(tmp_path)
    with pytest.raises(LikenessError, match="other photos"):
        run(tmp_path, about="something else")


def test_a_run_without_progress_stops_early(tmp_path: Path) -> None:
    still = replace(OPTIONS, rate=0.0, epochs=50, patience=4)
    assert [epoch.number for epoch in finish(tmp_path, still)] == [0, 1, 2, 3, 4, 5]


def test_the_weights_of_the_best_epoch_are_kept(tmp_path: Path) -> None:
    training, learner = run(tmp_path, replace(OPTIONS, rate=0.05, epochs=8))
    list(training.epochs())
    best = max(training.history, key=lambda epoch: epoch.tar)
    _, validation = learner.evaluation_vectors()
    assert training._tar_metric(validation.numpy()) == best.tar


def test_weights_worth_keeping_are_kept_when_nothing_is_better(tmp_path: Path) -> None:
    training, _ = run(tmp_path, replace(OPTIONS, rate=0.0), keep_start=True)
    list(training.epochs())
    assert [epoch.number for epoch in training.history if epoch.best] == [0]


def test_weights_drawn_at_random_are_not_kept_for_the_best(tmp_path: Path) -> None:
    training, _ = run(tmp_path, replace(OPTIONS, rate=0.0), keep_start=False)
    list(training.epochs())
    assert [epoch.number for epoch in training.history if epoch.best] == [1]


def test_wrong_labels_harm_less_when_they_are_expected(tmp_path: Path) -> None:
    accuracies: dict[float, list[float]] = {0.0: [], 0.3: []}
    for (noise, reached), seed in product(accuracies.items(), range(3)):
        random = np.random.default_rng(seed)
        labels = np.where(random.random(len(TRAIN)) < 0.3, random.permutation(TRAIN), TRAIN)
        folder = tmp_path / f"{noise}-{seed}"
        folder.mkdir()
        history = finish(folder, replace(OPTIONS, noise=noise, epochs=25, seed=seed), labels)
        reached.append(max(epoch.accuracy or 0 for epoch in history))
    assert np.mean(accuracies[0.3]) > np.mean(accuracies[0.0])


@pytest.mark.parametrize("loss", ["arcface", "cosface"])
def test_margin_losses_train_too(loss: LossName, tmp_path: Path, history: list[Epoch]) -> None:
    options = replace(OPTIONS, loss=loss)
    assert max(epoch.tar for epoch in finish(tmp_path, options)) > history[0].tar


def test_balance_draws_people_evenly(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], [350, 10])  # 360 photos, one person on nearly all of them
    identities = Identities(labels, np.zeros(len(HELD_OUT), np.int64), VALIDATION)
    drawn = {}
    for balance in (0.0, 1.0):
        options = replace(OPTIONS, balance=balance)
        learner = Watched(FEATURES, options)
        training = Training(learner, identities, options, tmp_path / f"{balance}.pt", "", False)
        learner.drawn.clear()
        epochs = training.epochs()
        next(epochs), next(epochs)  # the state before the first epoch, and the first
        drawn[balance] = np.mean(labels[learner.drawn] == 1)
    assert drawn[0.0] == pytest.approx(10 / 360)
    assert drawn[1.0] == pytest.approx(0.5, abs=0.1)


class Watched(HeadLearner):
    """Record the photos that were drawn."""

    def __init__(self, features: Features, options: Options) -> None:
        super().__init__(features, options)
        self.drawn: list[int] = []

    def vectors(self, places: Tensor, random: torch.Generator) -> Tensor:
        self.drawn += places.tolist()
        return super().vectors(places, random)
