"""Experiments of several training runs: ablation, hyperparameter search, gate report."""
