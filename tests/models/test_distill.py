import csv
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import load_bundle, save_weights, write_manifest
from models.datasets.crops import CropSet
from models.datasets.labelled import read_labelled
from models.distill import Run, Schedule, WatchSet, app, batches, optimizers
from models.embedder import Embedder, Row
from models.encoder.clip import ClipEncoder
from models.encoder.pixels import PixelSpec
from models.training.augment import CROP_SIZE, window
from models.training.student import (
    STUDENT_MARGIN,
    STUDENT_SIZE,
    Student,
    new_student,
    student_vectors,
)
from tests.checkpoints import tiny_head, tiny_manifest, vision_network
from tests.images import encode, picture
from tests.photos import photo_bytes

CPU = torch.device("cpu")
SIZES = {"num_hidden_layers": 8, "image_size": STUDENT_SIZE, "patch_size": 16}


@pytest.fixture(autouse=True)
def learning() -> Iterator[None]:
    """Enable gradients, even if another test disabled them in this thread."""
    with torch.enable_grad():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the inputs of a run: a tiny encoder, training crops, and labelled crops."""
    folder = tmp_path_factory.mktemp("data")
    save_weights(folder / "init", ClipEncoder(vision_network(**SIZES)), tiny_head(32, 512, 128))
    names = [f"{number}.jpg" for number in range(8)]
    CropSet(names, random_crops(8), {}).save(folder / "crops.npy")
    with (folder / "people.csv").open("w", newline="") as file:
        people = [*((name, int(name[0]) // 2) for name in names), ("absent.jpg", 4)]
        csv.writer(file).writerows([("image", "person"), *people])
    with (folder / "pairs.csv").open("w", newline="") as file:
        pairs = [("0.jpg", "1.jpg", 1), ("0.jpg", "2.jpg", 0), ("3.jpg", "absent.jpg", 0)]
        csv.writer(file).writerows([("a", "b", "same"), *pairs])
    return folder


def random_crops(count: int) -> NDArray[np.uint8]:
    shape = (count, CROP_SIZE, CROP_SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def run_command(data: Path, work: Path, steps: int) -> list[str]:
    crops, init = str(data / "crops.npy"), str(data / "init")
    return [
        *("run", "--crops", crops, "--watch", crops, "--watch-folder", str(data)),
        *("--work", str(work), "--init", init, "--batch", "4"),
        *("--steps", str(steps), "--watch-steps", "1"),
    ]


def steps_logged(work: Path) -> list[int]:
    with (work / "log.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def checkpointed_step(work: Path) -> int:
    step: int = torch.load(work / "checkpoint.pt", weights_only=True)["step"]
    return step


# Whole runs


def test_a_killed_run_goes_on_from_its_step(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.distill", *run_command(data, tmp_path, 10_000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        process.kill()
    killed_at = checkpointed_step(tmp_path)
    app(run_command(data, tmp_path, 2), standalone_mode=False)
    assert first_line.startswith("step 1 ")
    assert killed_at >= 1
    assert checkpointed_step(tmp_path) == killed_at + 2
    assert steps_logged(tmp_path)[-2:] == [killed_at + 1, killed_at + 2]


def test_a_run_logs_what_it_measures(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app(run_command(data, tmp_path, 1), standalone_mode=False)
    line = capsys.readouterr().out.splitlines()[0]
    for field in ("images 4", "loss", "cosine", "accuracy", "tar_1e-3"):
        assert field in line


def test_an_exported_run_is_served_with_the_vectors_of_its_average(
    data: Path, tmp_path: Path
) -> None:
    work, out = tmp_path / "work", tmp_path / "bundle"
    app(run_command(data, work, 2), standalone_mode=False)
    app(
        ["export", "--work", str(work), "--init", str(data / "init"), "--out", str(out)],
        standalone_mode=False,
    )
    spec = PixelSpec(STUDENT_SIZE, STUDENT_MARGIN, mirror=True)
    write_manifest(out, tiny_manifest(head=(32, 512, 128), pixels=spec))
    served = Embedder(load_bundle(str(out)), CPU, "fp32")
    average = Run(new_student(data / "init"), Schedule(), work, "cpu").average
    crops = random_crops(2)
    with torch.inference_mode():
        wanted = student_vectors(average, crops, CPU)
    # The student's window of a stored crop, as a separate crop.
    rows = served([np.asarray(window_of(crop), np.uint8) for crop in crops])
    for row, vector in zip(rows, wanted, strict=True):
        assert isinstance(row, Row)
        assert row.vector @ vector > 0.999


def window_of(crop: NDArray[np.uint8]) -> Tensor:
    pixels = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
    view, _ = window(pixels, torch.eye(2, 3)[None], STUDENT_SIZE, STUDENT_MARGIN)
    return view[0].permute(1, 2, 0).round()


def test_photos_are_cut_into_crops_to_learn_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(photo_bytes("grace"))
    (photos / "b.png").write_bytes(encode(picture(), "PNG"))
    app(
        ["crops", str(photos), "--out", str(tmp_path / "work" / "crops.npy")], standalone_mode=False
    )
    assert capsys.readouterr().out == "1 crops, 1 photos without a crop\n"
    assert CropSet.load(tmp_path / "work" / "crops.npy").crops.shape == (1, 160, 160, 3)


# Parts of a run


@pytest.fixture
def student(data: Path) -> Student:
    return new_student(data / "init")


def step(run: Run, rate: float = 1e-3) -> None:
    """Take a step that makes the outputs of the head smaller."""
    torch.manual_seed(run.step)
    pixels = torch.randn(2, 3, STUDENT_SIZE, STUDENT_SIZE)
    vectors, tokens = run.worker(pixels.bfloat16())
    run.advance(vectors.square().mean() + sum(t.square().mean() for t in tokens), rate)


def states(run: Run) -> list[Tensor]:
    return [*run.student.state_dict().values(), *run.average.state_dict().values()]


def test_a_resumed_run_goes_on_as_it_would_have(
    student: Student, data: Path, tmp_path: Path
) -> None:
    run = Run(student, Schedule(), tmp_path, "cpu")
    step(run)
    run.save()
    resumed = Run(new_student(data / "init"), Schedule(), tmp_path, "cpu")
    step(run)
    step(resumed)
    assert resumed.step == 2
    for one, other in zip(states(run), states(resumed), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_a_checkpoint_that_was_half_written_is_not_read(student: Student, tmp_path: Path) -> None:
    run = Run(student, Schedule(), tmp_path, "cpu")
    run.step = 7
    run.save()
    (tmp_path / "checkpoint.partial").write_bytes(b"half of a checkp")
    assert Run(student, Schedule(), tmp_path, "cpu").step == 7


def test_saving_leaves_one_file(student: Student, tmp_path: Path) -> None:
    Run(student, Schedule(), tmp_path, "cpu").save()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_average_follows_the_student_slowly(student: Student, tmp_path: Path) -> None:
    run = Run(student, Schedule(average=0.9), tmp_path, "cpu")
    average, learner = (s.head.get_parameter("0.weight") for s in (run.average, run.student))
    before = average.detach().clone()
    step(run, rate=0.1)
    moved = (average - before) / (learner - before)
    torch.testing.assert_close(moved.nanmedian(), torch.tensor(0.1), atol=1e-3, rtol=0)


def test_every_weight_has_one_optimizer(student: Student) -> None:
    held = [
        id(parameter)
        for optimizer in optimizers(student, Schedule())
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(held) == sorted(id(parameter) for parameter in student.parameters())


def test_every_crop_comes_once_per_epoch() -> None:
    crops = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    for epoch in range(2):
        seen = list(islice(batches(crops, 4, seed=1), 3 * epoch, 3 * epoch + 3))
        assert sorted(torch.cat(seen)[:, 0, 0, 0].tolist()) == list(range(12))


def test_too_few_crops_for_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="3 crops do not fill a batch of 4"):
        next(batches(np.zeros((3, 1, 1, 3), np.uint8), 4, seed=0))


def test_a_watched_photo_that_could_not_be_cut_is_no_match(data: Path) -> None:
    absent = len(CropSet.load(data / "crops.npy").names)
    pairs = [(0, absent, True), (0, 2, False)]
    watch = WatchSet(replace(read_labelled(data), pairs=pairs), CropSet.load(data / "crops.npy"))
    accuracy, _ = watch.measure(new_student(data / "init"), CPU)
    assert accuracy == 0.5  # whatever the threshold, the first pair is not accepted
