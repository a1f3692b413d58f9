"""Drift of what a service is sent, and feedback of its users."""
