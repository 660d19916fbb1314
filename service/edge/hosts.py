"""The host that a request calls, and the proxies that passed it on."""

from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from service.settings import is_loopback

_PROXY_HEADERS: Final = frozenset({"forwarded", "via", "x-real-ip"})


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address; unlike a name, it cannot be made to lead elsewhere."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def host_of(headers: Iterable[str]) -> str:
    """Return the host of the only Host header, without the port; empty if there is none."""
    try:
        (header,) = headers
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
    return host.removesuffix(".")


def is_own_name(host: str, allowed: Collection[str] = ()) -> bool:
    """Tell whether a host is a name of the loopback or one that is allowed; `*` allows all.

    Any web page can let its own name lead to the loopback of a visitor; the browser then takes
    the page and the service for one origin, but still sends the page's name as the host.
    Browsers resolve names that end in `localhost` to the loopback themselves (RFC 6761).
    """
    return is_loopback(host) or host.endswith(".localhost") or host in allowed or "*" in allowed


def is_passed_on(names: Iterable[str]) -> bool:
    """Tell from the names of a request's headers, in lower case, whether a proxy passed it on."""
    return any(name in _PROXY_HEADERS or name.startswith("x-forwarded-") for name in names)
