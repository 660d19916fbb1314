"""Let Schemathesis test every route of the OpenAPI document, with all its checks and phases.

It sends requests that the document allows and requests that it forbids, follows the links of the
document, and reports answers that are not documented. The server is the real one, with two
bundles, so that one can replace the other. The same seed makes the same requests.
`python -m tests.tools.reliability --only contract` runs this part alone.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from service.schemas.requests import SCOPES
from tests.server import running_server
from tests.tools.reliability.row import Row

# Environment variables for the hooks: the key to use, and the file for the answers.
OWN_KEY, ANSWERS = "RELIABILITY_KEY_ID", "RELIABILITY_ANSWERS"
_ROOT = Path(__file__).parents[3]
_CONFIG = Path(__file__).with_name("schemathesis.toml")
_EXAMPLES = 100
_TWO_BUNDLES = {"LIKENESS_NEXT_BUNDLE": "sface", "LIKENESS_STORE_IMAGES": "true"}


def rows(scale: float, seed: int = 0) -> list[Row]:
    """Test all routes once without keys and once with a key that has all rights."""
    examples = max(1, round(_EXAMPLES * scale))
    with TemporaryDirectory() as open_folder, TemporaryDirectory() as keys_folder:
        return [
            try_all(Path(open_folder), examples, seed, _TWO_BUNDLES, with_keys=False),
            try_all(Path(keys_folder), examples, seed, _TWO_BUNDLES, with_keys=True),
        ]


def try_all(
    folder: Path, examples: int, seed: int, settings: Mapping[str, str], *, with_keys: bool
) -> Row:
    """Test all routes of a server with these settings, and print the failures."""
    without_keys = {} if with_keys else {"LIKENESS_WITHOUT_KEYS": "true"}
    settings = {"LIKENESS_BUNDLE": "builtin", **settings, **without_keys}
    with running_server(folder / "likeness.db", settings) as server:
        options: list[str] = []
        environment = {ANSWERS: str(folder / "answers.txt")}
        if with_keys:
            with server.client() as client:
                made = client.post("/keys", json={"name": "all", "scopes": SCOPES}).json()
            options = ["--header", f"Authorization: Bearer {made['key']}"]
            environment[OWN_KEY] = made["key_id"]
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run"]
        command += [f"{server.url}/openapi.json", "--seed", str(seed), "--no-color", *options]
        command += ["--max-examples", str(examples), "--report", "json"]
        ran = subprocess.run(
            [*command, "--report-json-path", str(folder / "report.json")],
            cwd=_ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if ran.returncode:
        print(ran.stdout, ran.stderr, sep="\n", file=sys.stderr)
    return _row(folder, ran.stdout, with_keys=with_keys, ok=ran.returncode == 0)


def _row(folder: Path, said: str, *, with_keys: bool, ok: bool) -> Row:
    report = json.loads((folder / "report.json").read_text())
    answers = Counter((folder / "answers.txt").read_text().splitlines())
    served = {name for name, _, code in (line.rpartition(" ") for line in answers) if code < "300"}
    failures = report["test_cases"]["unique_failures"] + report["test_cases"]["errored"]
    followed = re.search(r"(\d+) covered / \d+ selected / (\d+) total", said)
    return Row(
        f"the contract, all checks, {'with keys' if with_keys else 'without keys'}",
        f"{answers.total():,} requests to {report['operations']['tested']} operations",
        f"{failures} failures; {len(served)} operations answered 2xx; "
        f"{' of '.join(followed.groups()) if followed else 'no'} links followed",
        "0 failures",
        ok and failures == 0,
    )
