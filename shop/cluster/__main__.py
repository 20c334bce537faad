"""`python -m shop.cluster [--workers N]` runs the cluster, `python -m shop.cluster stop` ends it."""

import argparse
import os
import sys

from shop.cluster import supervisor


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m shop.cluster", description=__doc__)
    parser.add_argument("do", nargs="?", choices=("run", "stop"), default="run")
    parser.add_argument("--workers", type=int, choices=range(1, 65), metavar="N", help="1 to 64; else one a processor")
    asked = parser.parse_args(arguments)
    if asked.do == "stop":
        return supervisor.stop(os.environ)
    return supervisor.run(os.environ, workers=asked.workers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
