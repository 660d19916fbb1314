"""The program `likeness`: set what has to be set before torch is loaded, then run a command."""

import os
import sys

# The status of shells for a stopped program: 128 plus the number of the signal SIGINT.
EXIT_STOPPED = 130


def main() -> None:
    """Run `likeness`."""
    # Threads that compute one batch wait for each other. By default they spin while they wait,
    # which is a little faster if each has a core, and up to 100 times slower if two share one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from service.cli.app import app

        app()
    except KeyboardInterrupt:  # while libraries are loaded
        sys.exit(EXIT_STOPPED)


if __name__ == "__main__":
    main()
