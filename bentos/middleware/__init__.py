"""What stands between the network and the service, in the order that a request meets it.

``errors``: every refusal is one JSON object with a reason, and no trace of the program leaves.
``guard``: who asks (``keys``), whether they may, and how often and how many at once (``limits``).
``body``: how much is read, and how long it may take.
"""
