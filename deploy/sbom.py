"""Add the Debian packages of an image to a CycloneDX list of what Python runs in it.

`python3 sbom.py LIST` rewrites the list; where there is no dpkg, it stays as it is.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path


def components(release: str) -> list[dict[str, str]]:
    """Return the installed packages of a Debian `release`, such as `debian-12`, by name."""
    fields = "${Package}\t${Version}\t${Architecture}\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", fields], check=True, capture_output=True, text=True
    )
    found = []
    for line in sorted(listed.stdout.splitlines()):
        name, version, architecture = line.split("\t")
        purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}&distro={release}"
        found.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        )
    return found


def release_name() -> str:
    """Return the distribution and its version, by `/etc/os-release`."""
    lines = Path("/etc/os-release").read_text().splitlines()
    known = dict(line.split("=", 1) for line in lines if "=" in line)
    return "-".join(known.get(key, "").strip('"') for key in ("ID", "VERSION_ID"))


def main() -> None:
    """Rewrite the list that the first argument names."""
    path = Path(sys.argv[1])
    bill = json.loads(path.read_text())
    if shutil.which("dpkg-query"):
        bill["components"] += components(release_name())
    path.write_text(json.dumps(bill, indent=1) + "\n")


if __name__ == "__main__":
    main()
