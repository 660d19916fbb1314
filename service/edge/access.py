"""What a request needs before it is served. Each interface states it for its own requests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.types import Receive, Scope

from service.schemas.requests import Scope as KeyScope


class Signature(Protocol):
    """Hold a signature as a request carries it; it is not checked yet."""

    @property
    def access_key_id(self) -> str:
        """Return the id of the key that the request claims to be signed with."""

    async def check(self, secret: str, receive: Receive) -> Receive:
        """Check the signature, and return the ASGI callable that reads the body.

        `secret` is the secret of the key that signed. Raises KeyInvalid, and what reading the
        body raises.
        """


@dataclass(frozen=True, slots=True)
class Need:
    """Hold what one request needs.

    `scope` is the scope that its key must have; with None any valid key will do. A request with
    `photos` needs a permit and may have a large body. A request that `is_open` needs no key and is
    served in every state of the service. Where `ignores_foreign_keys` is set, a client may send a
    key of another service as long as no key is needed. `signature` reads the signature of a
    request that is signed instead of showing its key; it raises KeyMissing or KeyInvalid.
    """

    scope: KeyScope | None
    photos: bool = False
    is_open: bool = False
    ignores_foreign_keys: bool = False
    signature: Callable[[Scope], Signature] | None = None


Policy = Callable[[Scope], Need | None]
"""Return what a request needs, or None if the request belongs to another interface."""

# A route that is added later and forgotten in its policy is the administrator's.
_UNLISTED: Final = Need("admin")


def need_of(policies: Sequence[Policy], scope: Scope) -> Need:
    """Return what a request needs: the first answer of the policies, or the scope `admin`."""
    needs = (policy(scope) for policy in policies)
    return next((need for need in needs if need is not None), _UNLISTED)
