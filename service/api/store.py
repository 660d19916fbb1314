"""The store and the vault that routes use; these routes run without an encoder."""

from typing import Annotated

from fastapi import Depends, Request

from service.edge.keys import KeyRing
from service.store import Store, Vault


async def store_of(request: Request) -> Store:
    """Return the store of the app that serves this request.

    It is async, although it never waits, because FastAPI would run a plain function in a thread.
    """
    store: Store = request.app.state.store
    return store


async def vault_of(request: Request) -> Vault:
    """Return the vault of the app that serves this request."""
    keys = request.app.state.keys
    assert isinstance(keys, KeyRing)
    return keys.vault


StoreDep = Annotated[Store, Depends(store_of)]
VaultDep = Annotated[Vault, Depends(vault_of)]
