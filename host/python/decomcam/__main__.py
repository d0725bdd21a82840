"""The command ``decomcam``; also ``python -m decomcam``."""

import signal
import sys

from ._native import command


def main() -> int:
    # Ctrl-C ends the command at once, as it ends any other.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return command(["decomcam", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
