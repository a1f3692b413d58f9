"""Steps that the retraining flow is made of."""
