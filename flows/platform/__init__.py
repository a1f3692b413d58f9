"""Prefect servers, deployments, notifications, telemetry and checks of the installation."""
