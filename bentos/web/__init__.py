"""Pages for people: search, a product's page, feedback, sign-in.

``application`` (``app``) is mounted in the service at ``/ui``. Pages are HTML from Jinja templates, in English and
Japanese; they work without JavaScript, load nothing from another host, and run no inline script or style.
"""
