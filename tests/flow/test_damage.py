"""What was damaged in the store is named over HTTP, and stops nobody else."""

from pathlib import Path

import httpx

from service.settings import Settings
from tests.contracts.store.inside import run
from tests.in_process import opened
from tests.photos import mirrored, photo_bytes

ADA, GRACE = photo_bytes("astronaut"), photo_bytes("grace")


async def enroll(client: httpx.AsyncClient, subject: str, photo: bytes) -> int:
    form = {"subject": subject}
    return (await client.post("/enroll", data=form, files={"image": photo})).status_code


async def test_one_damaged_vector_is_named_everywhere_and_mended_by_its_photo(
    tmp_path: Path,
) -> None:
    store = f"sqlite:///{tmp_path / 'likeness.db'}"
    settings = Settings(store=store, bundle="sface", rekognition=True)
    async with opened(settings) as client:
        await enroll(client, "ada", ADA)
        await enroll(client, "grace", GRACE)
    run(store, "UPDATE templates SET vector = zeroblob(512) WHERE subject = 'ada'")
    async with opened(settings) as client:
        refused = await client.post("/verify", data={"subject": "ada"}, files={"image": ADA})
        assert (refused.status_code, refused.json()["code"]) == (409, "templates_damaged")
        found = await client.post("/identify", files={"image": mirrored(GRACE)})
        assert found.json()["candidates"][0]["subject"] == "grace"
        assert (await client.post("/identify", files={"image": ADA})).json()["outcome"] == "unknown"
        shown = (await client.get("/subjects/ada")).json()
        assert [each["part"] for each in shown["damaged"]] == ["vector"]
        exported = (await client.get("/subjects/ada/export")).json()
        assert (exported["templates"], len(exported["damaged"])) == ([], 1)
        assert (await client.get("/readyz")).json() == {"status": "ok", "damaged": 1}
        assert "\nlikeness_damaged_values 1.0" in (await client.get("/metrics")).text
        entries = (await client.get("/audit")).json()["items"]
        assert [each["action"] for each in entries] == ["enrolled", "enrolled", "damaged"]
        assert await enroll(client, "ada", ADA) == 201
        again = await client.post("/verify", data={"subject": "ada"}, files={"image": ADA})
        assert again.json()["decision"] == "match"
        assert (await client.get("/readyz")).json()["damaged"] == 0
        assert "\nlikeness_damaged_values 0.0" in (await client.get("/metrics")).text
