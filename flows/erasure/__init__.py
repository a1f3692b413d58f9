"""What ``flows.cli.forget`` is made of: versions and their objects, the local places, Git's history."""
