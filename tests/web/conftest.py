"""What of this folder runs on which Python: Django 6, which has tasks, is made for 3.12 and later."""

from __future__ import annotations

import sys

collect_ignore = ["django6"] if sys.version_info < (3, 12) else []
