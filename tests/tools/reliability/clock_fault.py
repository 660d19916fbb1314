"""Let the wall clock jump: expiry and idempotency must follow it, and nothing else may change."""

from datetime import UTC, datetime, timedelta

import httpx

from tests.tools.reliability.audit import verified
from tests.tools.reliability.client import photo
from tests.tools.reliability.fault import answer_of, probes
from tests.tools.reliability.row import Row
from tests.tools.reliability.trouble import Trouble

_HOUR_S = 3600.0
# The error of the clock in hours after each jump.
_JUMPS = (0.0, 2.0, -2.0, 26.0, -48.0, 0.0)


def clock_row(engine: str, client: httpx.Client, trouble: Trouble) -> Row:
    """Let the clock jump, and check recognition, idempotency and the audit log after each jump.

    `guest` expires after an hour and `member` never; idempotency keys are kept for a day.
    """
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    wrong: list[str] = []
    receipts: list[str] = []

    def expect(what: str, response: httpx.Response, wanted: str) -> None:
        if (seen := answer_of(response)) != wanted:
            wrong.append(f"{trouble.clock_s.value / _HOUR_S:+.0f} h, {what}: {seen}")

    def enrol(subject: str, seed: int, **fields: str) -> httpx.Response:
        return client.post(
            "/enroll",
            data={"subject": subject, **fields},
            files={"image": photo(seed)},
            headers={"idempotency-key": subject},
        )

    def verify(subject: str) -> httpx.Response:
        fields = {"subject": subject, "threshold": "0"}
        return client.post("/verify", data=fields, files={"image": photo(1)})

    expect("a guest is enrolled", enrol("guest", 1, expires_at=soon), "201")
    expect("a member is enrolled", enrol("member", 2), "201")
    for at, hours in enumerate(_JUMPS):
        trouble.clock_s.value = hours * _HOUR_S
        has_left = "404 templates_expired" if hours > 1 else "200"
        expect("the guest is verified", verify("guest"), has_left)
        expect("the member is verified", verify("member"), "200")
        forgotten = at >= _JUMPS.index(26.0)
        expect(
            "the key is used for another photo",
            enrol("member", 3),
            "201" if forgotten else "422 idempotency_conflict",
        )
        expect("another is enrolled", enrol(f"other{at}", 10 + at), "201")
        if not all(probes(client)):
            wrong.append(f"{hours:+.0f} h: a probe fails")
        receipts.append(verified(client, receipts))
    return Row(
        f"{engine}: the wall clock jumps",
        f"{len(_JUMPS) - 1} jumps between -48 and +26 hours",
        "; ".join(wrong) or "expiry follows, nothing else changes, audit log verified",
        "expiry follows, nothing else changes, audit log verified",
        not wrong,
    )
