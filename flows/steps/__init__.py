"""Steps of the retraining flow."""
