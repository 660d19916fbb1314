"""What this machine is called by those who reach it without a network."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(name: str) -> bool:
    """Tell whether a host is this machine and nothing else; other names are not trusted to be."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_asked_by_its_name(host: str | None) -> bool:
    """Tell whether a request's header Host names the loopback, with or without a port.

    Any page can have its own name lead to the loopback of who looks at it, and is then of the
    same origin as what answers there. A browser says which name it was, and asks nobody where
    names are that end in `localhost` (RFC 6761).
    """
    try:
        name = "" if host is None else urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")
