"""The quality gate: a Great Expectations file context and the one runner.

To add or change a rule, edit ``gx/expectations/pairs.json`` or ``explanations.json``. A rule is any expectation of
Great Expectations on a column of the table or on a score (see ``entityclip.quality``), with a ``severity``
(``critical`` sets rows aside, ``warning`` and ``info`` only report), its name in ``meta.rule`` and its reason in
``notes``. How many rows may be set aside before the whole batch is refused stands in the suite's ``meta``.
"""

import os

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
