import os
import subprocess
import sys

PROGRAM = """
import os, sys
from service.__main__ import main
sys.argv = ["likeness", "--help"]
assert "torch" not in sys.modules
try:
    main()
except SystemExit as end:
    assert end.code == 0
print(os.environ["OMP_WAIT_POLICY"])
"""


def policy(**chosen: str) -> str:
    """Return the wait policy that the command line sets."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "OMP_"}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | chosen,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()[-1]


def test_threads_wait_without_using_a_core() -> None:
    assert policy() == "passive"


def test_a_wait_policy_of_the_user_is_kept() -> None:
    assert policy(OMP_WAIT_POLICY="active") == "active"
