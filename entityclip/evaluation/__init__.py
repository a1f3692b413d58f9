"""Metrics of a checkpoint, calibration, the promotion decision and the export to ONNX."""
