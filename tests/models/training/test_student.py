from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.bundle import load_bundle, save_weights
from models.embedder import Embedder
from models.encoder.clip import ClipEncoder
from models.training.augment import CROP_SIZE, Jitter
from models.training.student import (
    LossWeights,
    Student,
    Teacher,
    batch_loss,
    new_student,
    student_vectors,
)
from tests.checkpoints import tiny_head, vision_network

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def learning() -> Iterator[None]:
    """Enable gradients, even if another test disabled them in this thread."""
    with torch.enable_grad():
        yield


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny encoder and head, in the format of an export."""
    folder = tmp_path_factory.mktemp("init")
    sizes = {"num_hidden_layers": 8, "image_size": 112, "patch_size": 16}
    save_weights(folder, ClipEncoder(vision_network(**sizes)), tiny_head(32, 512, 128))
    return folder


@pytest.fixture
def student(init: Path) -> Student:
    return new_student(init)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher()


def random_crops(count: int) -> NDArray[np.uint8]:
    shape = (count, CROP_SIZE // 8, CROP_SIZE // 8, 3)
    coarse = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def loss_of(student: Student, teacher: Teacher, goal: LossWeights, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    crops = torch.from_numpy(random_crops(4)).permute(0, 3, 1, 2).contiguous().float()
    return batch_loss(student, teacher, crops, goal, Jitter())[0]


def test_a_fresh_student_has_the_size_of_the_built_in_encoder() -> None:
    student = new_student(None)
    weights = sum(parameter.numel() for parameter in student.encoder.parameters())
    assert (student.encoder.config.hidden_size, weights) == (256, 6_528_768)


def test_a_student_starts_from_an_earlier_one(student: Student) -> None:
    wanted = tiny_head(32, 512, 128).layers.state_dict()
    assert all(torch.equal(student.head.state_dict()[name], wanted[name]) for name in wanted)


def test_the_student_predicts_the_teachers_maps_at_every_patch(student: Student) -> None:
    vectors, tokens = student(torch.zeros(2, 3, 112, 112))
    assert vectors.shape == (2, 128)
    assert [t.shape for t in tokens] == [(2, 49, 512), (2, 49, 1024)]


def test_the_teacher_gives_the_vectors_of_the_served_bundle(teacher: Teacher) -> None:
    crops = torch.from_numpy(random_crops(2)[:, :112, :112])
    served = Embedder(load_bundle("sface"), CPU, "fp32").engine(crops.permute(0, 3, 1, 2))
    vectors, maps = teacher(crops.permute(0, 3, 1, 2).float())
    assert functional.cosine_similarity(vectors, served[:, 0]).min() > 0.995
    assert [m.shape[1:] for m in maps] == [(512, 14, 14), (1024, 7, 7)]


def test_every_weight_of_the_student_learns(student: Student, teacher: Teacher) -> None:
    loss_of(student, teacher, LossWeights()).backward()  # type: ignore[no-untyped-call]
    idle = [
        name
        for name, parameter in student.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    # An equal shift of all attention keys changes nothing.
    assert [name for name in idle if "k_proj.bias" not in name] == []


def test_a_loss_can_be_drawn_again(student: Student, teacher: Teacher) -> None:
    assert torch.equal(
        loss_of(student, teacher, LossWeights(), seed=3),
        loss_of(student, teacher, LossWeights(), seed=3),
    )


def test_every_part_of_the_goal_counts(student: Student, teacher: Teacher) -> None:
    plain = loss_of(student, teacher, LossWeights(relation=0, hint=0))
    assert loss_of(student, teacher, LossWeights(relation=8, hint=0)) > plain
    assert loss_of(student, teacher, LossWeights(relation=0, hint=0.3)) > plain


def test_the_students_vectors_have_unit_length(student: Student) -> None:
    vectors = student_vectors(student, random_crops(3), CPU)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_crop_and_its_mirror_image_have_the_same_student_vector(student: Student) -> None:
    crops = random_crops(3)
    one, other = (student_vectors(student, c, CPU) for c in (crops, crops[:, :, ::-1]))
    np.testing.assert_allclose(one, other, atol=1e-5)
