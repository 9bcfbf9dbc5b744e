"""`python -m mlsysops_pipeline.demo`."""

from __future__ import annotations

import sys

from mlsysops_pipeline.demo import main

if __name__ == "__main__":
    sys.exit(main())
