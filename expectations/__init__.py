"""The quality gate: a Great Expectations file context and its runner.

To add or change a rule, edit ``gx/expectations/pairs.json`` or ``explanations.json``. A rule is any expectation of
Great Expectations on a column of the table or on a score (see ``entityclip.quality``), with a ``severity``
(``critical`` sets rows aside, ``warning`` and ``info`` only report), its name in ``meta.rule`` and its reason in
``notes``. The suite's ``meta`` holds the largest share of rows that may be quarantined before the batch is refused.
"""

import os

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
