"""The value report: what a release is worth in minutes, mismatches and money, against criteria that were set before.

``criteria`` is the file that people write; ``figures`` are numbers with the file and key that each comes from;
``savings`` is the arithmetic of a month; ``findings`` puts them together; ``verdict`` is Go, Adjust or Stop; ``page``
is one page for a manager and an appendix for the engineer.
"""
