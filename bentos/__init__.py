"""The packaged model: a BentoML service and the builder that makes it from a promoted release."""

import os

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
