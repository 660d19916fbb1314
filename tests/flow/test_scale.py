"""Compose's profile `scale`: replicas, proxy, database and settings agree with each other."""

import re
from pathlib import Path

import pytest
import yaml

from service.settings import Settings
from service.store.postgres.database import CONNECTIONS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROXY, REPLICA, DATABASE = (COMPOSE["services"][n] for n in ("proxy", "replica", "database"))
RULES = (ROOT / "deploy" / "haproxy.cfg").read_text()
# What PostgreSQL keeps for its administrator.
RESERVED = 3


def rule(pattern: str) -> str:
    """Return what the group of a pattern holds, which one line of the proxy's rules matches."""
    found = re.findall(rf"^ *{pattern}$", RULES, re.MULTILINE)
    assert len(found) == 1, (pattern, found)
    return str(found[0])


def slots() -> int:
    """Return for how many replicas the proxy has room."""
    return int(rule(r"server-template replica 1-(\d+) .*"))


def variable(name: str, text: str) -> str:
    """Return what a variable of compose defaults to, in a text that holds it."""
    found = re.search(rf"\$\{{{name}:-([^}}]*)\}}", text)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize("service", ["proxy", "replica", "database"])
def test_only_the_profile_starts_it(service: str) -> None:
    assert COMPOSE["services"][service]["profiles"] == ["scale"]


def test_no_password_is_the_default() -> None:
    given = (DATABASE["environment"]["POSTGRES_PASSWORD"], REPLICA["environment"]["LIKENESS_STORE"])
    assert [variable("POSTGRES_PASSWORD", text) for text in given] == ["", ""]


def test_the_replicas_store_is_the_database() -> None:
    user, name = (DATABASE["environment"][f"POSTGRES_{key}"] for key in ("USER", "DB"))
    pattern = rf"postgresql://{user}:\$\{{POSTGRES_PASSWORD:-\}}@database/{name}"
    assert re.fullmatch(pattern, REPLICA["environment"]["LIKENESS_STORE"])


def test_replicas_start_when_the_database_answers() -> None:
    assert REPLICA["depends_on"]["database"]["condition"] == "service_healthy"


def test_the_databases_health_is_asked_over_the_network() -> None:
    test = DATABASE["healthcheck"]["test"]
    assert (test[:2], "--host=127.0.0.1" in test) == (["CMD", "pg_isready"], True)


def test_the_proxys_health_is_the_readiness_of_a_replica() -> None:
    assert str(PROXY["healthcheck"]["test"][-1]).endswith("/readyz")
    assert rule(r"http-check send meth GET uri (\S+) .*") == "/readyz"


def test_only_the_proxy_is_published() -> None:
    assert ("ports" in PROXY, "ports" in REPLICA, "ports" in DATABASE) == (True, False, False)


def test_only_replicas_reach_the_database() -> None:
    networks = COMPOSE["networks"]["store"], DATABASE["networks"], PROXY["networks"]
    assert networks == ({"internal": True}, ["store"], ["front"])


def test_the_proxy_asks_for_the_replicas_by_their_name_and_port() -> None:
    port = Settings.model_fields["port"].default
    assert rule(r"server-template replica \S+ (\S+)") == f"replica:{port}"


def test_the_proxy_has_room_for_the_replicas() -> None:
    replicas = int(variable("REPLICAS", REPLICA["deploy"]["replicas"]))
    assert 2 <= replicas <= slots()


def test_the_database_has_connections_for_every_slot_of_the_proxy() -> None:
    limit = int(DATABASE["command"][-1].removeprefix("max_connections="))
    assert slots() * (CONNECTIONS + 1) <= limit - RESERVED


def test_replicas_leave_for_longer_than_the_proxy_needs_to_notice() -> None:
    every, failures = map(int, re.findall(r"check inter (\d+)s fall (\d+)", RULES)[0])
    check = int(rule(r"timeout check (\d+)s"))
    leave = int(REPLICA["environment"]["LIKENESS_LEAVE_S"])
    assert leave >= every * failures + check
    grace = int(REPLICA["stop_grace_period"].removesuffix("s"))
    assert grace > leave + Settings().drain_s


def test_the_proxy_is_given_time_to_end() -> None:
    grace = int(PROXY["stop_grace_period"].removesuffix("s"))
    assert grace > int(rule(r"hard-stop-after (\d+)s")) > Settings().drain_s


def test_the_service_answers_before_the_proxy_gives_up() -> None:
    settings = Settings()
    assert int(rule(r"timeout client (\d+)s")) > settings.body_timeout_s
    assert int(rule(r"timeout server (\d+)s")) > settings.watchdog_s + settings.queue_timeout_s


def test_the_proxy_and_the_service_refuse_the_same_size() -> None:
    assert set(re.findall(r"\bgt (\d+)|more than (\d+) bytes", RULES)) == {
        (size := str(Settings().max_body_bytes), ""),
        ("", size),
    }
