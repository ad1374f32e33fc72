"""`python -m geventecho`."""

import sys

from geventecho.cli import main

if __name__ == "__main__":
    sys.exit(main())
