"""Templates of one bundle are never compared with those of another."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from service.settings import Settings
from tests.in_process import opened
from tests.photos import photo_bytes


@pytest.fixture(scope="module")
def bare_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        image_size=64, patch_size=16,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
async def after_the_change(tmp_path: Path, bare_clip: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Enrol with one bundle, then serve the same store with another."""
    store = f"sqlite:///{tmp_path / 'likeness.db'}"
    async with opened(Settings(store=store, bundle="sface")) as client:
        await client.post(
            "/enroll", data={"subject": "ada"}, files={"image": photo_bytes("astronaut")}
        )
    async with opened(Settings(store=store, bundle=str(bare_clip))) as client:
        yield client


async def test_verify_refuses_a_template_of_another_bundle(
    after_the_change: httpx.AsyncClient,
) -> None:
    response = await after_the_change.post(
        "/verify",
        data={"subject": "ada", "threshold": "0.9"},
        files={"image": photo_bytes("astronaut")},
    )
    assert (response.status_code, response.json()["code"]) == (409, "fingerprint_mismatch")


async def test_identify_refuses_a_gallery_of_another_bundle(
    after_the_change: httpx.AsyncClient,
) -> None:
    response = await after_the_change.post(
        "/identify", data={"threshold": "0.9"}, files={"image": photo_bytes("astronaut")}
    )
    assert response.json()["code"] == "fingerprint_mismatch"


async def test_a_subject_enrolled_again_is_verified(after_the_change: httpx.AsyncClient) -> None:
    photo = {"image": photo_bytes("astronaut")}
    await after_the_change.post("/enroll", data={"subject": "ada"}, files=photo)
    response = await after_the_change.post(
        "/verify", data={"subject": "ada", "threshold": "0.9"}, files=photo
    )
    assert response.json()["verified"] is True


async def test_a_bundle_without_operating_points_asks_for_a_threshold(
    after_the_change: httpx.AsyncClient,
) -> None:
    response = await after_the_change.post(
        "/verify", data={"subject": "ada"}, files={"image": photo_bytes("astronaut")}
    )
    assert (response.status_code, response.json()["code"]) == (422, "uncalibrated")
