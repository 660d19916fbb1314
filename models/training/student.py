"""Define the student, its teacher, and the loss of distillation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from models.encoder.onnx import OnnxEncoder
from models.encoder.openvino import compile_model, open_core
from models.encoder.pixels import CLIP_MEAN, CLIP_STD, standardise
from models.training.augment import Jitter, extent_of, random_views, recolour, window
from models.weights import SFACE, locate

STUDENT_SIZE, STUDENT_MARGIN = 112, 0.06
TEACHER_SIZE, TEACHER_MARGIN = 112, 0.0
# Hints: a tensor of the teacher, the student layer that predicts it, and its channels. The second
# tensor is the input of SFace's last layer, on the same 7 by 7 grid as the student's patches.
HINTS = (("conv_12_relu", 5, 512), ("dropout5", 7, 1024))


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Hold the weights of the parts of the loss, and the share of blended crops."""

    relation: float = 8.0
    hint: float = 0.3
    blend: float = 0.5


class Student(nn.Module):
    """Hold the encoder, the head, and projections for the hints that only training needs."""

    def __init__(self, encoder: CLIPVisionModel) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(width, 512), nn.GELU(), nn.Linear(512, 128))
        self.hints = nn.ModuleList(nn.Linear(width, channels) for _, _, channels in HINTS)

    @property
    def dtype(self) -> torch.dtype:
        """Return the data type of the weights."""
        return next(self.parameters()).dtype

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        out = self.encoder(pixel_values=pixels, output_hidden_states=True)
        tokens = [
            project(out.hidden_states[layer][:, 1:])
            for project, (_, layer, _) in zip(self.hints, HINTS, strict=True)
        ]
        return self.head(out.pooler_output), tokens


class Teacher:
    """Run SFace on the CPU, for its unit vectors and two of its feature maps."""

    def __init__(self) -> None:
        core = open_core(torch.device("cpu"))
        model = core.read_model(OnnxEncoder.load(locate(SFACE)).model)
        for tensor, _, _ in HINTS:
            model.add_outputs(tensor)
        self._request = compile_model(core, model, "bf16")

    def __call__(self, crops: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return vectors `(n, 128)` and feature maps of RGB crops `(n, 3, 112, 112)`, 0 to 255."""
        outputs = self._request.infer([crops.cpu().numpy()], share_inputs=True)
        vectors, *maps = (torch.from_numpy(np.array(outputs[at])) for at in range(1 + len(HINTS)))
        maps = [functional.layer_norm(m, m.shape[1:]) for m in maps]
        return functional.normalize(vectors), maps


def new_student(init: Path | None) -> Student:
    """Build a student with random weights, or load the encoder and head in the folder `init`."""
    if init is None:
        config = CLIPVisionConfig(
            hidden_size=256, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=4,
            image_size=STUDENT_SIZE, patch_size=16, hidden_act="gelu",
        )  # fmt: skip
        config._attn_implementation = "eager"  # its backward pass is twice as fast on CPU
        return Student(CLIPVisionModel(config))
    encoder = CLIPVisionModel.from_pretrained(
        init / "encoder", dtype=torch.float32, attn_implementation="eager"
    )
    student = Student(encoder)
    head = {name: value.float() for name, value in load_file(init / "head.safetensors").items()}
    student.head.load_state_dict(head)
    return student


def batch_loss(
    student: Student, teacher: Teacher, crops: Tensor, weights: LossWeights, jitter: Jitter
) -> tuple[Tensor, float]:
    """Return the loss of stored crops `(n, 3, 160, 160)`, 0 to 255, and its cosine part."""
    n, device = len(crops), crops.device
    if torch.rand(()) < 0.5:
        crops = crops.flip(3)
    weight = torch.where(
        torch.rand(n, 1, 1, 1, device=device) < weights.blend,
        torch.rand(n, 1, 1, 1, device=device) * 0.5, torch.zeros((), device=device),
    )  # fmt: skip
    crops = torch.lerp(crops, crops.roll(1, 0), weight)
    plain = torch.eye(2, 3, device=device).expand(n, 2, 3)
    clear, _ = window(crops, plain, TEACHER_SIZE, TEACHER_MARGIN)
    view, mapping = window(crops, random_views(n, jitter, device), STUDENT_SIZE, STUDENT_MARGIN)
    target, maps = teacher(clear)
    target, maps = target.to(device), [hint.to(device) for hint in maps]
    pixels = standardise(recolour(view, jitter), CLIP_MEAN, CLIP_STD)
    output, tokens = student(pixels.to(student.dtype))
    vectors = functional.normalize(output.float())
    cosine = (1 - (vectors * target).sum(1)).mean()
    relation = (vectors @ vectors.T - target @ target.T).square().mean()
    loss = cosine + weights.relation * relation
    cells = round(tokens[0].shape[1] ** 0.5)
    extent = extent_of(TEACHER_MARGIN)
    grid = functional.affine_grid(mapping / extent, [n, 1, cells, cells], align_corners=False)
    for predicted, hint in zip(tokens, maps, strict=True):
        target_tokens = functional.grid_sample(
            hint, grid, align_corners=False, padding_mode="border"
        )
        target_tokens = target_tokens.flatten(2).transpose(1, 2)
        loss = loss + weights.hint * (predicted.float() - target_tokens).square().mean()
    return loss, float(cosine.detach())


@torch.no_grad()
def student_vectors(
    student: Student, crops: NDArray[np.uint8], device: torch.device
) -> NDArray[np.float32]:
    """Return the unit vectors `(n, 128)` of stored crops, summed over crop and mirror image."""
    vectors = []
    for start in range(0, len(crops), 128):
        part = torch.from_numpy(np.array(crops[start : start + 128])).to(device)
        plain = torch.eye(2, 3, device=device).expand(len(part), 2, 3)
        pixels, _ = window(
            part.permute(0, 3, 1, 2).contiguous().float(), plain, STUDENT_SIZE, STUDENT_MARGIN
        )
        pixels = standardise(pixels, CLIP_MEAN, CLIP_STD)
        output = student(pixels)[0] + student(pixels.flip(3))[0]
        vectors.append(functional.normalize(output).cpu())
    return np.asarray(torch.cat(vectors).numpy(), np.float32)
