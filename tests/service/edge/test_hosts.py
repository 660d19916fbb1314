import pytest

from service.edge.hosts import host_of, is_address, is_own_name, is_passed_on


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        (["localhost:8000"], "localhost"),
        (["Faces.Example.com."], "faces.example.com"),
        (["[::1]:8000"], "::1"),
        ([], ""),
        (["a", "b"], ""),
        (["[::1"], ""),
    ],
)
def test_the_host_is_read_from_a_single_header(headers: list[str], host: str) -> None:
    assert host_of(headers) == host


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.0.0.1", "::1"])
def test_names_of_the_loopback_are_its_own(host: str) -> None:
    assert is_own_name(host)


@pytest.mark.parametrize("host", ["localhost.evil.com", "10.0.0.7", ""])
def test_other_names_have_to_be_allowed(host: str) -> None:
    assert [is_own_name(host, allowed) for allowed in ((), (host,), ("*",))] == [False, True, True]


def test_an_address_is_told_from_a_name() -> None:
    assert [is_address(host) for host in ("10.0.0.7", "::1", "localhost")] == [True, True, False]


@pytest.mark.parametrize("name", ["forwarded", "via", "x-real-ip", "x-forwarded-for"])
def test_a_header_of_a_proxy_is_recognised(name: str) -> None:
    assert is_passed_on(["accept", name])
    assert not is_passed_on(["accept"])
