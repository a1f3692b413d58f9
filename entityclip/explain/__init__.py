"""Who writes explanations, and the ledger that keeps every one of them."""
