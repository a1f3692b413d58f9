"""Studies of many trainings: ablation, tuning, and what the quality gate is worth."""
