"""`python -m lambda_ric.cli` is `lambda-ric`."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
