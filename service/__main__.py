"""Run the command line, after what must be said before torch is loaded."""

import os
import sys

# As shells have it: 128 and the number of the signal.
EXIT_STOPPED = 130


def main() -> None:
    """Run `likeness`."""
    # Threads that compute one batch wait for each other. By default they spin, which is a hair
    # faster while every one has a core, and up to a hundred times slower where two share one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from service.cli.app import app

        app()
    except KeyboardInterrupt:  # while the libraries are loaded, which takes seconds
        sys.exit(EXIT_STOPPED)


if __name__ == "__main__":
    main()
