"""`python -m prewrite` is the command `prewrite`."""

import sys

from prewrite.commands import main

if __name__ == "__main__":
    sys.exit(main())
