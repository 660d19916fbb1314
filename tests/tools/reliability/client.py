"""Change subjects at random, as one client of the storm, and remember every answer."""

import hashlib
import random
from threading import Barrier

import httpx

from tests.images import encode, noise
from tests.tools.reliability.journal import Journal, Templates

SUBJECTS = 5


class UnexpectedRefusal(Exception):
    """A request was answered with an unexpected problem."""


class StormClient:
    """Enrol, rename and delete subjects, one request after the other, until the server is gone."""

    def __init__(self, number: int) -> None:
        self.journal = Journal({f"client{number}-{at}": {} for at in range(SUBJECTS)})
        self.receipt: str | None = None
        """Of the last entry of the audit log that an answer named."""
        self._dice = random.Random(number)
        self._seed = 1_000_000 * number
        self._made: dict[str, int] = {}
        """The seeds of the photos sent until now, by their SHA-256."""
        self._gone: list[int] = []
        self._again: tuple[str, list[bytes], str] | None = None

    def storm(self, url: str, begun: Barrier, may_refuse: bool) -> None:
        """Send requests until one is not answered.

        With `may_refuse`, the client also stops when the store is unavailable.
        """
        waits = True
        with httpx.Client(base_url=url, timeout=30) as client:
            try:
                while True:
                    self._one(client)
                    if waits:
                        begun.wait(30)
                        waits = False
            except httpx.TransportError:
                return
            except UnexpectedRefusal as refused:
                if not may_refuse or "store_unavailable" not in str(refused):
                    raise

    def settle_enrolment(self, client: httpx.Client) -> bool:
        """Send an unanswered enrolment again; tell whether it took effect exactly once.

        It has the same idempotency key, as from a caller who does not know the result either.
        """
        if self._again is None:
            return True
        subject, photos, key = self._again
        self._enrol(client, subject, photos, key)
        return templates_of(client, subject) == self.journal.held[subject]

    def _one(self, client: httpx.Client) -> None:
        subject = self._dice.choice(list(self.journal.held))
        held = self.journal.held[subject]
        match self._dice.random():
            case what if what < 0.2 and held:
                self._delete(client, subject, self._dice.choice(sorted(held)))
            case what if what < 0.4 and held:
                self._delete(client, subject, None)
            case what if what < 0.5 and self._gone:
                self._enrol(client, subject, [photo(self._gone.pop())])
            case what if what < 0.6 and held and self._free:
                self._rename(client, subject, self._dice.choice(self._free))
            case what:
                self._enrol(client, subject, self._photos(2 if what < 0.75 else 1))

    @property
    def _free(self) -> list[str]:
        return [name for name, held in self.journal.held.items() if not held]

    def _photos(self, count: int) -> list[bytes]:
        photos = []
        for _ in range(count):
            self._seed += 1
            photos.append(photo(self._seed))
            self._made[_sha256(photos[-1])] = self._seed
        return photos

    def _enrol(
        self, client: httpx.Client, subject: str, photos: list[bytes], key: str | None = None
    ) -> None:
        digests = [_sha256(each) for each in photos]
        key = key or f"{subject}-{self._dice.getrandbits(64):x}"
        before = self.journal.held[subject]
        self.journal.begin({subject: frozenset(before) | frozenset(digests)})
        self._again = (subject, photos, key)
        response = client.post(
            "/enroll",
            data={"subject": subject},
            files=[("image", each) for each in photos],
            headers={"idempotency-key": key},
        )
        images = _answered(response)["images"]
        assert isinstance(images, list)
        made = {digest: image["template_id"] for digest, image in zip(digests, images, strict=True)}
        self.journal.acknowledge({subject: {**before, **made}})
        self._again = None

    def _rename(self, client: httpx.Client, subject: str, to: str) -> None:
        held = self.journal.held[subject]
        self.journal.begin({subject: frozenset(), to: frozenset(held)})
        answer = _answered(client.post(f"/subjects/{subject}/rename", json={"to": to}))
        self.journal.acknowledge({subject: {}, to: held})
        self._note(answer)

    def _delete(self, client: httpx.Client, subject: str, digest: str | None) -> None:
        """Delete a template or, with None, the subject."""
        held = self.journal.held[subject]
        left = {} if digest is None else {k: v for k, v in held.items() if k != digest}
        path = "" if digest is None else f"/templates/{held[digest]}"
        self.journal.begin({subject: frozenset(left)})
        answer = _answered(client.delete(f"/subjects/{subject}{path}"))
        self.journal.acknowledge({subject: left})
        self._note(answer)
        self._gone += [self._made[each] for each in held if each not in left]

    def _note(self, answer: dict[str, object]) -> None:
        receipt = answer["receipt"]
        assert isinstance(receipt, dict)
        self.receipt = f"{receipt['number']}:{receipt['digest']}"


def photo(seed: int) -> bytes:
    """Return a small photo without a person; each seed gives another photo."""
    return encode(noise(48, 48, seed), "JPEG")


def templates_of(client: httpx.Client, subject: str) -> Templates:
    """Return the templates of a subject."""
    response = client.get(f"/subjects/{subject}")
    if response.status_code == httpx.codes.NOT_FOUND:
        return {}
    templates = _answered(response)["templates"]
    assert isinstance(templates, list)
    return {each["image_sha256"]: each["template_id"] for each in templates}


def _answered(response: httpx.Response) -> dict[str, object]:
    if not response.is_success:
        raise UnexpectedRefusal(response.text)
    answer: dict[str, object] = response.json()
    return answer


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
