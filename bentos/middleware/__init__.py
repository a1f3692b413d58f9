"""ASGI middleware of the service, in the order in which a request passes it.

``errors``: every error becomes one JSON object with a reason and shows nothing of the program.
``auth``: checks the API key (``keys``), its scope, and its rate and concurrency (``limits``).
``body``: limits the size of the body and the time to receive it.
"""
