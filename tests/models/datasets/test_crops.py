import os
import selectors
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.datasets.crops import CropSet, cut
from models.datasets.folders import photos_in
from models.photo.detectors import DetectorSource, YuNetDetector
from models.photo.face import Framing, align, find_face
from models.photo.image import decode
from tests.images import encode, picture
from tests.photos import photo_bytes

Pixels = NDArray[np.uint8]

YUNET, FRAMING = DetectorSource("yunet"), Framing(120, 0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two portraits, one of them in a subfolder, and two files that show no face."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "b").mkdir()
    (folder / "a.jpg").write_bytes(photo_bytes("grace"))
    (folder / "b" / "c.PNG").write_bytes(photo_bytes("astronaut"))
    (folder / "d.png").write_bytes(encode(picture(), "PNG"))
    (folder / "e.jpg").write_bytes(b"not a photo")
    (folder / "notes.txt").write_text("no photo either")
    return folder


@pytest.fixture(scope="module")
def crops(folder: Path) -> CropSet:
    return cut(photos_in(folder), folder, YUNET, FRAMING)


def test_photos_are_listed_in_a_stable_order(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in photos_in(folder)]
    assert names == ["a.jpg", "b/c.PNG", "d.png", "e.jpg"]


def test_what_a_phone_names_is_a_photo_and_a_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.HEIC").write_bytes(b"")
    (tmp_path / "album.jpg").mkdir()
    assert photos_in(tmp_path) == [tmp_path / "a.HEIC"]


def test_photos_with_a_face_are_named_by_their_place_in_the_folder(crops: CropSet) -> None:
    assert crops.names == ["a.jpg", "b/c.PNG"]


def test_the_others_are_rejected_with_the_reason(crops: CropSet) -> None:
    assert crops.rejected == {"d.png": "no_face", "e.jpg": "not_an_image"}


def test_crops_are_those_of_the_service(crops: CropSet, yunet: YuNetDetector) -> None:
    for crop, name in zip(crops.crops, ("grace", "astronaut"), strict=True):
        found = find_face(decode(photo_bytes(name)).pixels, yunet, "largest")
        wanted = align(found, yunet, FRAMING).pixels
        np.testing.assert_array_equal(crop, wanted)


def test_a_folder_without_faces_gives_no_crops(folder: Path) -> None:
    crops = cut([folder / "d.png"], folder, YUNET, FRAMING, workers=1)
    assert (crops.names, crops.crops.shape) == ([], (0, 120, 120, 3))


def test_crops_are_loaded_as_they_were_saved(crops: CropSet, tmp_path: Path) -> None:
    crops.save(tmp_path / "crops.npy")
    loaded = CropSet.load(tmp_path / "crops.npy")
    assert (loaded.names, loaded.rejected) == (crops.names, crops.rejected)
    np.testing.assert_array_equal(loaded.crops, crops.crops)


def test_an_empty_set_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    CropSet([], np.empty((0, 4, 4, 3), np.uint8), {}).save(tmp_path / "crops.npy")
    loaded = CropSet.load(tmp_path / "crops.npy")
    assert (loaded.names, loaded.rejected, len(loaded.crops)) == ([], {}, 0)


def test_loaded_crops_stay_on_disk(crops: CropSet, tmp_path: Path) -> None:
    crops.save(tmp_path / "crops.npy")
    assert isinstance(CropSet.load(tmp_path / "crops.npy").crops, np.memmap)


WORKERS_AND_WAIT = """
import multiprocessing, sys, threading
from pathlib import Path
from models.datasets.crops import Cutter
from models.photo.detectors import DetectorSource
from models.photo.face import Framing

if __name__ == "__main__":
    with Cutter(DetectorSource("yunet"), Framing(120, 0.3), workers=1) as cutter:
        list(cutter([Path(sys.argv[1])]))
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        threading.Event().wait()
"""


def test_workers_do_not_outlive_a_killed_parent(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "cutting.py"
    script.write_text(WORKERS_AND_WAIT)
    words = [sys.executable, str(script), str(folder / "a.jpg")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        (worker,) = (int(word) for word in parent.stdout.readline().split())
        ended = os.pidfd_open(worker)
        parent.kill()
        parent.wait()
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        assert selector.select(timeout=60), "the worker lives on"
    os.close(ended)
