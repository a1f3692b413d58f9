"""The quality gate: a Great Expectations file context, our own rules, and the one runner."""

import os

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
