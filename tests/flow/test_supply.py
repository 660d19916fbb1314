"""What is installed is what was locked, and what is in the image is listed."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service import __version__
from tests.photos import photo_bytes

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
# Names, versions, markers and hashes, as pip reads them.
_ENTRY = re.compile(
    r"^([\w.-]+)==([^ ;\n]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)*)", re.M
)


def entries(lock: str) -> dict[str, str]:
    """Return the versions that a lock holds, by name."""
    found = _ENTRY.findall((LOCKS / f"{lock}.txt").read_text())
    return {canonicalize_name(name): version for name, version, _ in found}


def pins() -> dict[str, str]:
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("path", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_locked_package_has_a_hash_and_the_version_that_is_pinned(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"^([\w.-]+)==", text, re.M)
    assert [name for name, _, hashes in _ENTRY.findall(text) if hashes] == named
    pinned, locked = pins(), entries(path.stem)
    known = {name: version.removesuffix("+cpu") for name, version in locked.items()}
    assert {name: pinned.get(name, version) for name, version in known.items()} == known


@pytest.mark.parametrize("extra", ["service", *EXTRAS])
def test_what_the_project_asks_for_is_locked(extra: str) -> None:
    wanted = EXTRAS.get(extra, PROJECT["dependencies"])
    names = {canonicalize_name(Requirement(line).name) for line in wanted}
    assert names - entries("service").keys() - entries(extra).keys() == set()


def test_what_is_installed_includes_every_file_that_is_not_code() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    installed = {
        path
        for package, patterns in tool["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package).glob(pattern)
    }
    listed = subprocess.run(
        ["git", "ls-files", "-z", "models", "service"], cwd=ROOT, capture_output=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    not_code = {path for path in paths if path.suffix not in {".py", ".md"}}
    assert {path.name for path in not_code} >= {"report.html.j2", "map.html.j2"}
    assert not_code <= installed


def test_libraries_for_gpus_come_only_with_a_torch_for_them() -> None:
    assert [name for name in entries("service") if name.startswith(("nvidia", "triton"))] == []
    assert {"nvidia-cudnn-cu13", "triton"} <= entries("torch-cuda").keys()


def test_the_code_and_the_distribution_have_one_version() -> None:
    assert __version__ == PROJECT["version"]


def test_no_text_tells_to_install_the_package_of_another_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    theirs = re.compile(r"\bpip3? install [^\n`]*\blikeness(?![\w/-])")
    told = [path for path in paths if theirs.search(path.read_bytes().decode(errors="replace"))]
    assert told == []
    assert PROJECT["name"] == "likeness-server"


def wheel(folder: Path, name: str, contents: Mapping[str, bytes] = MappingProxyType({})) -> str:
    """Write a package that holds nothing but `contents`, and return its entry in a lock."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        for path, text in files.items()
    }
    record = "".join(f"{path},sha256={digest},\n" for path, digest in digests.items())
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for member, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            file.writestr(member, text)
        for member, data in contents.items():
            file.writestr(member, data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"


def test_a_file_whose_hash_is_not_locked_is_not_installed(tmp_path: Path) -> None:
    locks, wheels, target = tmp_path / "locks", tmp_path / "wheels", tmp_path / "target"
    locks.mkdir()
    wheels.mkdir()
    shutil.copy(ROOT / "deploy" / "install.sh", tmp_path)
    lines = [wheel(wheels, name) for name in ("setuptools", "torch")]
    (locks / "service.txt").write_text("".join(lines))
    (locks / "torch-cpu.txt").write_text(lines[1].replace("1.0", "1.0+cpu"))
    (locks / "torch-cuda.txt").touch()
    (locks / "more.txt").write_text(wheel(wheels, "changed"))
    with zipfile.ZipFile(wheels / "changed-1.0-py3-none-any.whl", "a") as file:
        file.writestr("changed.py", "print('anything')")
    options = f"--no-index --find-links {wheels} --target {target} --upgrade"
    known = {"PIP_OPTIONS": options, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    command = ["sh", str(tmp_path / "install.sh"), sys.executable, "more"]
    refused = subprocess.run(
        command, env=os.environ | known, capture_output=True, text=True, check=False
    )
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert "changed" in refused.stderr
    assert refused.returncode != 0
    installed = {path.name for path in target.iterdir()}
    assert installed == {"setuptools-1.0.dist-info", "torch-1.0.dist-info"}


def test_portraits_come_from_packages_whose_hashes_are_locked(tmp_path: Path) -> None:
    wheels, locks, out = tmp_path / "wheels", tmp_path / "locks", tmp_path / "portraits"
    wheels.mkdir()
    locks.mkdir()
    script = shutil.copy(ROOT / "deploy" / "portraits.py", tmp_path)
    grace = {"matplotlib/mpl-data/sample_data/grace_hopper.jpg": photo_bytes("grace")}
    eileen = {"skimage/data/astronaut.png": photo_bytes("astronaut")}
    (locks / "offline.txt").write_text(wheel(wheels, "matplotlib", grace))
    (locks / "dev.txt").write_text(wheel(wheels, "scikit_image", eileen).replace("_", "-"))
    environment = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    command = [sys.executable, script, out]
    subprocess.run(command, env=os.environ | environment, check=True)
    assert {path.name for path in out.iterdir()} == {
        "grace.jpg",
        "grace-mirrored.jpg",
        "eileen.png",
    }
    assert (out / "grace.jpg").read_bytes() == photo_bytes("grace")
    (locks / "dev.txt").write_text(f"scikit-image==1.0 --hash=sha256:{'0' * 64}\n")
    refused = subprocess.run(command, env=os.environ | environment, stderr=subprocess.PIPE)
    assert b"DO NOT MATCH THE HASHES" in refused.stderr
    assert refused.returncode != 0


def test_the_base_image_is_named_by_its_digest() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (default,) = re.findall(r"^ARG BASE_IMAGE=(.+)$", dockerfile, re.M)
    assert re.fullmatch(r"python@sha256:[0-9a-f]{64}", default)


def test_the_digest_that_a_tag_has_becomes_the_base_image(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "base-image.sh", tmp_path / "deploy")
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    digest = f"sha256:{'5' * 64}"
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho {digest}\n")
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", script, "python:3.12-slim"], env=os.environ | {"PATH": path}, check=True)
    written = (tmp_path / "Dockerfile").read_text()
    assert f"\nARG BASE_IMAGE=python@{digest}\n" in written
    assert "# The base image is python:3.12-slim of 2" in written


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="this system has no dpkg")
def test_debian_packages_are_listed_with_pythons(tmp_path: Path) -> None:
    bill = tmp_path / "sbom.json"
    ours = {"type": "library", "name": "numpy", "version": "2", "purl": "pkg:pypi/numpy@2"}
    bill.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [ours]}))
    subprocess.run([sys.executable, ROOT / "deploy" / "sbom.py", bill], check=True)
    first, *others = json.loads(bill.read_text())["components"]
    assert first == ours
    assert any(one["purl"].startswith("pkg:deb/debian/libc6@") for one in others)


def test_the_list_of_what_is_in_the_image_is_shipped_in_it() -> None:
    last = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert "COPY --from=bill /opt/sbom.json /usr/share/likeness/sbom.json" in last
