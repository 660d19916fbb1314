"""Files through the service's pipeline, many at a time."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

import pytest

from service.bulk.local import FileResult, LocalEngine, Rejection, decode_threads, open_local
from service.pipeline.pipeline import Probe
from service.settings import load_settings
from tests.checkpoints import write_bundle
from tests.images import encode, picture
from tests.people import write_people


@pytest.fixture
async def bulk(tmp_path: Path) -> AsyncIterator[LocalEngine]:
    bundle = write_bundle(tmp_path / "bundle")
    settings = load_settings(bundle=str(bundle), decode_threads=2, max_batch=4)
    async with open_local(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = write_people(tmp_path_factory.mktemp("bulk") / "people")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "nobody.png").write_bytes(encode(picture(), "PNG"))
    return [*sorted(folder.rglob("*.*")), folder / "gone.jpg"]


async def probe(bulk: LocalEngine, files: list[Path]) -> list[FileResult]:
    return [result async for result in bulk.probe_files(files, "largest")]


async def test_every_file_has_one_result(bulk: LocalEngine, photos: list[Path]) -> None:
    assert sorted(result.file for result in await probe(bulk, photos)) == sorted(photos)


async def test_a_file_that_cannot_be_used_harms_only_itself(
    bulk: LocalEngine, photos: list[Path]
) -> None:
    failed = {
        result.file.name: result.outcome.code
        for result in await probe(bulk, photos)
        if isinstance(result.outcome, Rejection)
    }
    assert failed == {
        "broken.jpg": "undecodable_image",
        "nobody.png": "no_face",
        "gone.jpg": "unreadable",
    }


async def test_the_digest_is_that_of_the_bytes(bulk: LocalEngine, photos: list[Path]) -> None:
    (result,) = await probe(bulk, photos[:1])
    assert result.sha256 == sha256(photos[0].read_bytes()).hexdigest()


async def test_vectors_are_those_of_the_photos_alone(bulk: LocalEngine, photos: list[Path]) -> None:
    many = {result.file: result.outcome for result in await probe(bulk, photos)}
    (alone,) = await probe(bulk, photos[5:6])
    together = many[alone.file]
    assert isinstance(alone.outcome, Probe)
    assert isinstance(together, Probe)
    assert float(alone.outcome.row.vector @ together.row.vector) > 0.999


async def test_only_so_many_files_are_under_way(bulk: LocalEngine, photos: list[Path]) -> None:
    begun = 0

    def files() -> Iterator[Path]:
        nonlocal begun
        for file in photos:
            begun += 1
            yield file

    async with aclosing(bulk.probe_files(files(), "largest")) as results:
        await anext(results)
        assert begun <= bulk.width


@pytest.mark.parametrize(("cores", "decoding"), [(1, 1), (2, 1), (4, 3), (16, 12)])
def test_on_a_cpu_some_cores_are_left_to_the_encoder(cores: int, decoding: int) -> None:
    assert decode_threads(cores, on_gpu=False) == decoding


def test_with_a_gpu_all_cores_decode() -> None:
    assert decode_threads(16, on_gpu=True) == 16
