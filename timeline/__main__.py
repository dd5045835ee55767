"""``python -m timeline``."""

import sys

from timeline.cli.main import program

if __name__ == "__main__":
    sys.exit(program())
