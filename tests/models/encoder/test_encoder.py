import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.encoder.clip import ClipEncoder
from models.encoder.dlib import DlibEncoder
from models.encoder.encoder import digest
from tests.checkpoints import vision_network, write_full, write_vision_only


@pytest.mark.dlib
def test_dlibs_encoder_gives_128_features_for_150_pixels() -> None:
    encoder = DlibEncoder.load()
    with torch.inference_mode():
        given = encoder(torch.zeros(2, 3, encoder.image_size, encoder.image_size))
    assert given.shape == (2, encoder.width) == (2, 128)


def test_a_digest_does_not_depend_on_shards(tmp_path: Path) -> None:
    whole = ClipEncoder.load(write_vision_only(tmp_path / "whole"))
    sharded = ClipEncoder.load(write_full(tmp_path / "sharded", "20KB"))
    assert digest(whole.network) == digest(sharded.network)


def test_a_digest_changes_with_a_single_number() -> None:
    network = vision_network()
    before = digest(network)
    with torch.no_grad():
        next(network.parameters()).view(-1)[7] += 1e-3
    assert digest(network) != before


def test_serving_a_face_network_does_not_wait_for_transformers() -> None:
    program = "import service.app, sys; print('transformers' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "False"
