"""Distil the built-in encoder: train a small CLIP vision transformer to imitate SFace.

    python -m models.distill crops PHOTOS --out work/train.npy
    python -m models.distill run --crops work/train.npy --watch work/view1.npy \\
        --watch-folder view1 --work work/run --minutes 120
    python -m models.distill run ... --minutes 30 --decay     # the last run: the rate falls to 0
    python -m models.distill export --work work/run --out models/bundles/builtin

A run can be killed at any time and continues from its last checkpoint. The student gets a moved,
mirrored and recoloured view of a crop; the teacher gets the plain crop. Half of the crops are
blends of two faces, so that the student gets many more faces than there are people (Beyer et al.
2022, Knowledge distillation: A good teacher is patient and consistent). The student also predicts
feature maps of the teacher from its patch tokens (Romero et al. 2015, FitNets); without these
hints a transformer needs several times more photos.
"""

import csv
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn
from typer import Argument, Option

from models.bundle import save_weights
from models.datasets.atomic import atomic_write
from models.datasets.crops import CropSet, cut
from models.datasets.folders import photos_in
from models.datasets.labelled import LabelledSet, read_labelled
from models.encoder.clip import ClipEncoder
from models.encoder.head import Head
from models.evaluation.measure import compare_photos, pair_scores
from models.evaluation.rates import fnmr_at, pair_accuracy, threshold_at
from models.photo.detectors import DetectorSource
from models.photo.face import Framing
from models.training.augment import CROP_MARGIN, CROP_SIZE, Jitter
from models.training.student import (
    LossWeights,
    Student,
    Teacher,
    batch_loss,
    new_student,
    student_vectors,
)

LOG_FIELDS = ("step", "images", "rate", "loss", "cosine", "images_per_s", "accuracy", "tar_1e-3")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hold the schedule of a run, which is saved and measured every `watch_steps` steps."""

    batch: int = 192
    rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up_steps: int = 200
    average: float = 0.998
    watch_steps: int = 500


SCHEDULE: Final = Schedule()


@dataclass(frozen=True, slots=True)
class WatchSet:
    """Hold labelled crops that are not trained on, to measure the progress of a run."""

    labelled: LabelledSet
    crops: CropSet

    def measure(self, student: Student, device: torch.device) -> tuple[float, float]:
        """Return pair accuracy and TAR at FMR 1e-3; a photo without a crop is a non-match."""
        crop_vectors = student_vectors(student, self.crops.crops, device)
        vectors = np.zeros((len(self.labelled.images), crop_vectors.shape[1]), np.float32)
        places = {image: at for at, image in enumerate(self.labelled.images)}
        vectors[[places[name] for name in self.crops.names]] = crop_vectors
        scores, same = pair_scores(self.labelled, vectors)
        every = compare_photos(self.labelled, vectors)
        accuracy = pair_accuracy(scores[same], scores[~same])
        return accuracy, 1 - fnmr_at(every.genuine, threshold_at(every.impostor, 1e-3))


def optimizers(student: Student, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the transformer layers and AdamW for all other weights."""
    inner, outer, plain = [], [], []
    for name, parameter in student.named_parameters():
        if ".layers." in name and parameter.ndim == 2:
            inner.append(parameter)
        elif parameter.ndim >= 2 and "embedding" not in name:
            outer.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": outer, "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    muon = torch.optim.Muon(
        inner,
        lr=schedule.rate,
        weight_decay=schedule.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98))]


def batches(crops: NDArray[np.uint8], size: int, seed: int) -> Iterator[Tensor]:
    """Yield batches `(size, 3, 160, 160)` float32 without end, every crop once per epoch.

    Raises ValueError if there are fewer crops than one batch.
    """
    if len(crops) < size:
        raise ValueError(f"{len(crops)} crops do not fill a batch of {size}.")
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(crops))
        for start in range(0, len(order) - size + 1, size):
            chosen = crops[np.sort(order[start : start + size])]
            yield torch.from_numpy(chosen).permute(0, 3, 1, 2).contiguous().float()


class Run:
    """Hold the state of a run: student, moving average, optimizers and number of steps.

    `worker` is a copy of the student in bfloat16 that computes the gradients. On a CPU it is 1.5
    times as fast as autocast, whose conversions cost much time. The steps are taken in float32.
    """

    def __init__(self, student: Student, schedule: Schedule, work: Path, device: str) -> None:
        self.device = torch.device(device)
        self.schedule = schedule
        self.student = student.to(self.device)
        self.average = deepcopy(self.student).requires_grad_(False)
        self.optimizers = optimizers(self.student, schedule)
        self.step = 0
        self._path = work / "checkpoint.pt"
        if self._path.exists():
            state = torch.load(self._path, map_location=self.device, weights_only=True)
            self.student.load_state_dict(state["student"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step = state["step"]
        self.worker = deepcopy(self.student).bfloat16()

    def save(self) -> None:
        """Write the checkpoint atomically, so that a killed run finds the old or the new one."""
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }
        with atomic_write(self._path) as file:
            torch.save(state, file)

    def advance(self, loss: Tensor, rate: float) -> None:
        """Take one optimization step with this loss and learning rate."""
        self.worker.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        pairs = list(zip(self.student.parameters(), self.worker.parameters(), strict=True))
        for value, copy in pairs:
            value.grad = None if copy.grad is None else copy.grad.float()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            for value, copy in pairs:
                copy.copy_(value)
        for mean, value in zip(self.average.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(value.detach(), 1 - self.schedule.average)
        self.step += 1


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Init = Annotated[Path | None, Option(help="Folder of an earlier encoder/ and head.safetensors.")]


@app.command("run")
def train(
    crops: Annotated[Path, Option(help="Crops to train on.")],
    watch: Annotated[Path, Option(help="Crops of a labelled set, to measure progress.")],
    watch_folder: Annotated[Path, Option(help="Folder of that set, with its CSV files.")],
    work: Annotated[Path, Option(help="Folder of the checkpoint and the log.")],
    init: Init = None,
    minutes: Annotated[float, Option(help="Stop after so many minutes.")] = 60,
    steps: Annotated[int, Option(help="Stop after so many steps.")] = sys.maxsize,
    watch_steps: Annotated[
        int, Option(help="Steps from one measurement to the next.")
    ] = SCHEDULE.watch_steps,
    decay: Annotated[bool, Option("--decay", help="Let the learning rate fall to zero.")] = False,
    batch: Annotated[int, Option(help="Crops per step.")] = SCHEDULE.batch,
    rate: Annotated[float, Option(help="Highest learning rate.")] = SCHEDULE.rate,
    device: Annotated[str, Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Train for some minutes or steps, from the last checkpoint if there is one."""
    schedule = Schedule(batch=batch, rate=rate, watch_steps=watch_steps)
    work.mkdir(parents=True, exist_ok=True)
    trained_on = CropSet.load(crops).crops
    watched = WatchSet(read_labelled(watch_folder), CropSet.load(watch))
    run = Run(new_student(init), schedule, work, device)
    teacher = Teacher()
    weights, jitter = LossWeights(), Jitter()
    first, started, seconds = run.step, time.monotonic(), minutes * 60
    torch.manual_seed(run.step)
    losses: list[tuple[float, float]] = []
    marked = started
    for pixels in batches(trained_on, schedule.batch, seed=run.step):
        elapsed = time.monotonic() - started
        if elapsed > seconds or run.step - first >= steps:
            break
        rate_now = schedule.rate * min(1, (run.step - first + 1) / schedule.warm_up_steps)
        if decay:
            rate_now *= 1 - elapsed / seconds
        loss, cosine = batch_loss(run.worker, teacher, pixels.to(run.device), weights, jitter)
        run.advance(loss, rate_now)
        losses.append((float(loss.detach()), cosine))
        if run.step % schedule.watch_steps == 0:
            speed = len(losses) * schedule.batch / (time.monotonic() - marked)
            _report(run, watched, rate_now, losses, speed, work)
            losses, marked = [], time.monotonic()
    if losses:
        _report(run, watched, 0.0, losses, 0.0, work)


def _report(
    run: Run,
    watch: WatchSet,
    rate: float,
    losses: list[tuple[float, float]],
    speed: float,
    work: Path,
) -> None:
    run.save()
    accuracy, tar = watch.measure(run.average, run.device)
    loss, cosine = np.mean(losses, axis=0)
    images = run.step * run.schedule.batch
    row = (run.step, images, f"{rate:.2e}", f"{loss:.4f}", f"{cosine:.4f}", f"{speed:.0f}",
           f"{accuracy:.4f}", f"{tar:.4f}")  # fmt: skip
    with (work / "log.csv").open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(LOG_FIELDS)
        writer.writerow(row)
    print("  ".join(f"{n} {v}" for n, v in zip(LOG_FIELDS, row, strict=True)), flush=True)


@app.command()
def export(
    work: Annotated[Path, Option(help="Folder of the run.")],
    out: Annotated[Path, Option(help="Folder of the bundle.")],
    init: Init = None,
) -> None:
    """Write the averaged student as `encoder/` and `head.safetensors`, in float16.

    The student needs crops of STUDENT_SIZE and STUDENT_MARGIN with the template `arcface`. Write
    this into `bundle.json`, and measure the bundle again.
    """
    student = Run(new_student(init), SCHEDULE, work, "cpu").average
    head = Head.from_tensors(student.head.state_dict())
    save_weights(out, ClipEncoder(student.encoder.half()), head.half())


@app.command("crops")
def cut_crops(
    photos: Annotated[Path, Argument(help="Folder of photos.")],
    out: Annotated[Path, Option(help="File of the crops.")],
) -> None:
    """Cut the crops of a folder of photos, and print how many photos have none."""
    crops = cut(
        photos_in(photos),
        photos,
        DetectorSource("yunet"),
        Framing(CROP_SIZE, CROP_MARGIN, "arcface"),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    crops.save(out)
    print(f"{len(crops.names)} crops, {len(crops.rejected)} photos without a crop")


if __name__ == "__main__":
    app()
