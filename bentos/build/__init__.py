"""Builds a Bento from a release and tests it before it ships."""
