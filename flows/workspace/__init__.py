"""The workspace as a Git and DVC repository: versions, releases, locks and history."""
