"""Claims: what a text says about single attributes, each tested by exchanging it for what it might say instead."""
