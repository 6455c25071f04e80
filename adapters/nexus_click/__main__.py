"""`python -m nexus_click` is `nexus`."""

from __future__ import annotations

import sys

from nexus_click import main

if __name__ == "__main__":
    sys.exit(main())
