"""Vectors, indexes, ranking and the predictor that serves them."""
