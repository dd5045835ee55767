"""``python -m timeline``."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python puts the directory first in which the command is given. A module there is the
        # program's, and does not stand before what we import: a resource.py, a queue.py.
        sys.path.append(sys.path.pop(0))

    from timeline.cli.main import program

    sys.exit(program())
