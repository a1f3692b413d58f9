"""Training: what is computed (config), which weights learn (adapt), one step (job), the whole run (fit).

What is imported from here are settings and names of runs; ``fit`` and ``job`` load torch.
"""

from entityclip.training.config import (
    TIMES,
    Adaptation,
    TrainConfig,
    code_hash,
    read_config,
    run_inputs,
    run_key,
)
from entityclip.training.distillation_config import Distillation

__all__ = ["TIMES", "Adaptation", "Distillation", "TrainConfig", "code_hash", "read_config", "run_inputs", "run_key"]
