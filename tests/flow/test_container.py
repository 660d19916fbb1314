"""The container's files agree with each other and with the project."""

import re
import subprocess
import tomllib
from importlib.metadata import requires
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONSTRAINTS = (ROOT / "deploy" / "constraints.txt").read_text()
LOCKS = ROOT / "deploy" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
TARGETS = [
    *(
        "help",
        "install",
        "serve",
        "portraits",
        "test",
        "lint",
        "bench",
        "reliability",
        "image",
        "clean",
    ),
    *("digest", "lock", "audit", "sbom"),
]
# A torch for GPUs pins the libraries it brings by itself, and what else is for GPUs is not
# installed where the checks run.
FOR_GPUS = ("nvidia", "cuda", "triton", "onnxruntime-gpu")


def pins() -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in CONSTRAINTS.splitlines())
    return {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if line)
    }


def needed(requirements: list[str], extras: frozenset[str], seen: set[str]) -> None:
    """Add the names of what the requirements need here to `seen`, and what those need in turn."""
    for wanted in map(Requirement, requirements):
        name = canonicalize_name(wanted.name)
        chosen = ({"extra": extra} for extra in extras | {""})
        if wanted.marker and not any(map(wanted.marker.evaluate, chosen)):
            continue
        if name not in seen and not name.startswith(FOR_GPUS):
            seen.add(name)
            needed(requires(name) or [], frozenset(wanted.extras), seen)


def test_every_copied_path_exists() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in copied for source in line.split()[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_every_copied_path_is_sent_to_the_builder() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()[:-1]}
    sent = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert sources - sent == set()


def test_dependencies_are_installed_before_the_code_is_copied() -> None:
    assert DOCKERFILE.index("deploy/install.sh /opt") < DOCKERFILE.index("COPY service")


def test_the_service_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[-1] != "0"


def test_the_command_is_run_without_a_shell() -> None:
    assert re.search(r'^ENTRYPOINT \["likeness"\]$', DOCKERFILE, re.MULTILINE)


def test_health_is_readiness() -> None:
    health = DOCKERFILE[DOCKERFILE.index("HEALTHCHECK") :].split("ENTRYPOINT")[0]
    assert "/readyz" in health


def test_the_image_does_not_decide_to_go_without_keys() -> None:
    assert "WITHOUT_KEYS" not in DOCKERFILE


@pytest.mark.parametrize("service", ["likeness", "gpu", "replica", "proxy"])
def test_the_root_file_system_is_read_only(service: str) -> None:
    assert COMPOSE["services"][service]["read_only"] is True


@pytest.mark.parametrize("service", ["likeness", "gpu", "replica"])
def test_the_grace_period_is_longer_than_the_drain(service: str) -> None:
    grace = COMPOSE["services"][service]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Settings().drain_s


@pytest.mark.parametrize("service", ["likeness", "gpu", "proxy"])
def test_without_keys_only_the_hosts_loopback_is_published(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"][service]["ports"])


@pytest.mark.parametrize(("service", "callers"), [("likeness", "likeness"), ("replica", "proxy")])
def test_without_keys_other_containers_call_it_by_a_name_that_it_knows(
    service: str, callers: str
) -> None:
    given = COMPOSE["services"][service]["environment"]
    assert callers in Settings(allowed_hosts=given["LIKENESS_ALLOWED_HOSTS"]).allowed_hosts


def test_every_variable_of_compose_is_a_setting() -> None:
    known = {f"LIKENESS_{name.upper()}" for name in Settings.model_fields}
    services = COMPOSE["services"]
    used = {
        name
        for service in ("likeness", "gpu", "replica")
        for name in services[service]["environment"]
    }
    assert used - known == set()


def test_the_gpu_is_reserved_by_a_profile() -> None:
    gpu = COMPOSE["services"]["gpu"]
    devices = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (gpu["profiles"], devices[0]["capabilities"]) == (["gpu"], ["gpu"])


@pytest.mark.parametrize("requirement", DIRECT)
def test_a_dependency_is_pinned_within_its_range(requirement: str) -> None:
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(pins()[canonicalize_name(wanted.name)])


def test_what_dependencies_depend_on_is_pinned() -> None:
    names: set[str] = set()
    needed(DIRECT, frozenset(), names)
    assert names - set(pins()) == set()


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_how_to_make(target: str) -> None:
    plan = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert plan.returncode == 0, plan.stderr


@pytest.mark.parametrize(
    "file",
    [
        "Dockerfile",
        "docker-compose.yml",
        "deploy/haproxy.cfg",
        ".dockerignore",
        "Makefile",
        ".ci/run",
        "deploy/constraints.txt",
        "deploy/image.sh",
        "deploy/install.sh",
        "deploy/lock.sh",
        "deploy/base-image.sh",
        *(path.relative_to(ROOT).as_posix() for path in sorted(LOCKS.glob("*.txt"))),
    ],
)
def test_no_host_is_named_but_the_loopback(file: str) -> None:
    # Nor is one named by the address of compose's own database.
    text = re.sub(r"://\S+@database/", "", (ROOT / file).read_text())
    assert re.findall(r"\b[\w-]+\.(?:com|dev|io|net|org)\b|://(?!127\.0\.0\.1)\w", text) == []
