"""Who reaches a service that asks for no key: by which name, and through a proxy or not."""

from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

_OF_PROXIES: Final = frozenset({"forwarded", "via", "x-real-ip"})


def is_loopback(name: str) -> bool:
    """Tell whether a host is this machine and nothing else; other names are not trusted to be."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_address(name: str) -> bool:
    """Tell whether a host is an IP address, which nobody can make lead elsewhere."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def host_of(headers: Iterable[str]) -> str:
    """Return the name in a request's one header Host, without a port; empty if there is none."""
    try:
        (host,) = headers
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    return name.removesuffix(".")


def is_own_name(host: str, allowed: Collection[str] = ()) -> bool:
    """Tell whether a host is a name of the loopback, or one that is allowed; `*` allows all.

    Any page can have its own name lead to the loopback of who looks at it, and is then of the
    same origin as what answers there. A browser says which name it was, and asks nobody where
    names are that end in `localhost` (RFC 6761).
    """
    return is_loopback(host) or host.endswith(".localhost") or host in allowed or "*" in allowed


def is_passed_on(names: Iterable[str]) -> bool:
    """Tell by the names of a request's headers, in lower case, whether a proxy passed it on."""
    return any(name in _OF_PROXIES or name.startswith("x-forwarded-") for name in names)
