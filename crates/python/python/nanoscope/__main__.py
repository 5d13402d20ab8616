"""The command line `nanoscope`."""

import os
import sys

from nanoscope._nanoscope import run_program


def main() -> None:
    """Runs the command line with this process's arguments, and ends the process with its exit code."""
    code = run_program(["nanoscope", *sys.argv[1:]])
    # Not sys.exit: what is left is Python's own clean-up, which waits for threads.
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
