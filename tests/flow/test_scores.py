"""One score for everybody: the same on every route and engine, fused over photos, and doubted."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.bundle import BUILTIN_FOLDER, read_manifest, write_manifest
from models.cohort import Cohort, read_cohort, write_cohort
from models.decision import ConditionRates, Rate
from service.errors import InvalidSettings
from service.settings import Settings
from tests.in_process import opened
from tests.photos import mirrored, photo_bytes, reencoded
from tests.postgres import Cluster

GRACE, EILEEN = photo_bytes("grace"), photo_bytes("astronaut")
AGAIN = mirrored(reencoded("grace", side=400))
MASTER = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(params=["sqlite", "sqlite, sealed", "postgres", "postgres, sealed"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    engine, *sealed = request.param.split(", ")
    if engine == "postgres":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.new_database()
    else:
        url = f"sqlite:///{tmp_path / 'likeness.db'}"
    keys = {"master_keys": MASTER} if sealed else {}
    return Settings.model_validate({"store": url, "bundle": "sface", **keys})


def photos(*images: bytes) -> list[tuple[str, bytes]]:
    return [("image", image) for image in images]


async def ask(
    client: httpx.AsyncClient, route: str, *images: bytes, **fields: str
) -> dict[str, Any]:
    answer = await client.post(route, data=fields, files=photos(*images))
    assert answer.is_success, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def test_verify_and_identify_give_one_and_the_same_score(settings: Settings) -> None:
    async with opened(settings) as client:
        await ask(client, "/enroll", GRACE, reencoded("grace", side=300), subject="grace")
        await ask(client, "/enroll", EILEEN, subject="eileen")
        verified = await ask(client, "/verify", AGAIN, subject="grace")
        (found,) = (await ask(client, "/identify", AGAIN))["candidates"]
        card = (await client.get("/model")).json()
    assert found["similarity"] == pytest.approx(verified["similarity"], abs=1e-5)
    assert found["cosine"] == pytest.approx(verified["cosine"], abs=1e-5)
    assert verified["similarity"] < verified["cosine"]
    assert verified["comparisons"] == 2
    assert card["cohort"]["faces"] == card["cohort"]["faces"] > 100


async def test_another_cohort_changes_the_scores_of_a_gallery_and_not_its_templates(
    settings: Settings, tmp_path: Path
) -> None:
    source, folder = BUILTIN_FOLDER / "sface", tmp_path / "bundle"
    folder.mkdir()
    manifest = read_manifest(source)
    assert manifest.cohort is not None
    usual = read_cohort(source, manifest.cohort, 128)
    other = Cohort(usual.faces[::2], 5)
    card = write_cohort(folder, other, "half of them")
    write_manifest(folder, manifest.model_copy(update={"cohort": card, "quality": None}))
    async with opened(settings) as client:
        await ask(client, "/enroll", GRACE, subject="grace")
        before = await ask(client, "/verify", AGAIN, subject="grace")
    async with opened(settings.model_copy(update={"bundle": str(folder)})) as client:
        after = await ask(client, "/verify", AGAIN, subject="grace")
        (found,) = (await ask(client, "/identify", AGAIN))["candidates"]
        vectors = (await ask(client, "/embed", AGAIN, GRACE))["images"]
    assert after["cosine"] == pytest.approx(before["cosine"], abs=1e-5)
    assert after["similarity"] != pytest.approx(before["similarity"], abs=1e-3)
    assert found["similarity"] == pytest.approx(after["similarity"], abs=1e-5)
    a, b = (np.array(each["vector"], np.float32) for each in vectors)
    by_hand = float(a @ b) - float(other.means(np.stack([a, b])).mean())
    assert after["similarity"] == pytest.approx(by_hand, abs=1e-3)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    async with opened(Settings(store=url, bundle="sface")) as client:
        await ask(client, "/enroll", GRACE, subject="grace")
        yield client


async def test_several_photos_decide_together(client: httpx.AsyncClient) -> None:
    frames = [AGAIN, reencoded("grace", side=200), mirrored(GRACE)]
    answer = await ask(client, "/verify", *frames, subject="grace")
    assert (answer["decision"], len(answer["faces"]), answer["unused"]) == ("match", 3, [])
    assert "combines 3 photos." in answer["explanation"]
    (found,) = (await ask(client, "/identify", *frames))["candidates"]
    assert found["similarity"] == pytest.approx(answer["similarity"], abs=1e-5)


async def test_photos_of_different_people_are_refused(client: httpx.AsyncClient) -> None:
    for route, fields in (("/verify", {"subject": "grace"}), ("/identify", {})):
        answer = await client.post(route, data=fields, files=photos(AGAIN, EILEEN))
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "different_people")
        assert [error["field"] for error in problem["errors"]] == ["image.1"]


async def test_a_frame_without_a_face_does_not_spoil_the_others(
    client: httpx.AsyncClient,
) -> None:
    answer = await ask(client, "/verify", b"no photo", AGAIN, subject="grace")
    assert answer["decision"] == "match"
    assert [(each["image"], each["problem"]["code"]) for each in answer["unused"]] == [
        (0, "not_an_image")
    ]


async def test_without_any_face_the_first_photo_says_why(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/verify", data={"subject": "grace"}, files=photos(b"no photo", b"none either")
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "not_an_image")


async def test_one_photo_is_sent_as_ever(client: httpx.AsyncClient) -> None:
    sent = base64.b64encode(AGAIN).decode()
    alone = await client.post("/verify", json={"subject": "grace", "image": sent})
    listed = await client.post("/verify", json={"subject": "grace", "image": [sent]})
    bare = await client.post(
        "/verify?subject=grace", content=AGAIN, headers={"content-type": "image/jpeg"}
    )
    scores = {round(each.json()["similarity"], 6) for each in (alone, listed, bare)}
    assert len(scores) == 1


async def test_an_image_that_is_null_is_none(client: httpx.AsyncClient) -> None:
    one, other = (base64.b64encode(photo).decode() for photo in (GRACE, AGAIN))
    pair = {"source_image": one, "target_image": other, "image": None, "subject": None}
    assert (await client.post("/verify", json=pair)).json()["decision"] == "match"
    nothing = await client.post("/identify", json={"image": None})
    assert (nothing.status_code, nothing.json()["errors"][0]["field"]) == (422, "image")


@pytest.fixture
async def doubting(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a bundle to which all photos are masked, and whose masked strangers match too often."""
    source, folder = BUILTIN_FOLDER / "sface", tmp_path / "bundle"
    folder.mkdir()
    manifest = read_manifest(source)
    assert manifest.calibration is not None
    assert manifest.quality is not None
    for name in ("cohort.safetensors", "quality.safetensors"):
        (folder / name).write_bytes((source / name).read_bytes())
    rate = Rate(0.05, 0.04, 0.06)
    rows = tuple(
        ConditionRates("masked", point.name, 1000, rate)
        for point in manifest.calibration.operating_points
    )
    calibration = manifest.calibration.model_copy(update={"conditions": rows})
    quality = manifest.quality.model_copy(
        update={"thresholds": manifest.quality.thresholds | {"masked": 0.0}}
    )
    write_manifest(
        folder, manifest.model_copy(update={"calibration": calibration, "quality": quality})
    )
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    settings = Settings(store=url, bundle=str(folder), enroll_quality="off")
    async with opened(settings) as client:
        await ask(client, "/enroll", GRACE, subject="grace")
        yield client


async def test_where_the_rates_do_not_hold_the_answer_is_inconclusive_with_the_reason(
    doubting: httpx.AsyncClient,
) -> None:
    answer = await ask(doubting, "/verify", AGAIN, subject="grace")
    assert (answer["decision"], answer["verified"], answer["doubts"]) == (
        "inconclusive",
        False,
        ["masked"],
    )
    assert "behind a mask" in answer["explanation"]
    assert answer["evidence"]["conditions"] == ["masked"]
    assert answer["evidence"]["photos"] == 5
    assert answer["faces"][0]["conditions"] == ["masked"]


async def test_a_candidate_is_marked_where_the_rates_do_not_hold(
    doubting: httpx.AsyncClient,
) -> None:
    answer = await ask(doubting, "/identify", AGAIN)
    assert answer["outcome"] == "inconclusive"
    assert [each["doubts"] for each in answer["candidates"]] == [["masked"]]


async def test_a_laxer_point_covers_the_same_photos(doubting: httpx.AsyncClient) -> None:
    # At an FMR of 1e-2, one in twenty is more than twice the claim as well; at none of one's own.
    answer = await ask(doubting, "/verify", AGAIN, subject="grace", threshold="0.1")
    assert (answer["decision"], answer["doubts"]) == ("match", [])


async def test_requests_that_name_no_point_are_decided_at_the_strictest_well_measured_one(
    client: httpx.AsyncClient,
) -> None:
    card = (await client.get("/model")).json()
    points = {point["name"]: point for point in card["operating_points"]}
    usual = points[card["default_operating_point"]]
    assert not usual["extrapolated"]
    assert usual["fnmr"]["value"] <= 0.05
    answer = await ask(client, "/verify", AGAIN, subject="grace")
    assert answer["operating_point"]["name"] == usual["name"] == "fmr_1e-4"


async def test_a_usual_point_that_the_bundle_has_not_stops_the_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    settings = Settings(store=url, bundle="sface", operating_point="fmr_1e-9")
    with pytest.raises(InvalidSettings, match=r"LIKENESS_OPERATING_POINT.*fmr_1e-9.*fmr_1e-4"):
        async with opened(settings):
            pass


async def test_the_usual_point_is_a_setting(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    settings = Settings(store=url, bundle="sface", operating_point="fmr_1e-3")
    async with opened(settings) as client:
        await ask(client, "/enroll", GRACE, subject="grace")
        answer = await ask(client, "/verify", AGAIN, subject="grace")
        assert (await client.get("/model")).json()["default_operating_point"] == "fmr_1e-3"
    assert answer["operating_point"]["name"] == "fmr_1e-3"
