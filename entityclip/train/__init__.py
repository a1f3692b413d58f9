"""Training: what is computed (config), which weights learn (adapt), one step (job), the whole run (fit)."""

from entityclip.train.config import Adaptation, TrainConfig, code_hash, read_config, run_inputs, run_key
from entityclip.train.fit import TIMES, Report, fit
from entityclip.train.job import Job, join

__all__ = [
    "TIMES",
    "Adaptation",
    "Job",
    "Report",
    "TrainConfig",
    "code_hash",
    "fit",
    "join",
    "read_config",
    "run_inputs",
    "run_key",
]
