"""Pages for people who decide about data and releases: ``entityclip review serve``.

They need a workspace and no running service, and share look, sign-in and safety with the service's pages
(``bentos.web``).
"""
