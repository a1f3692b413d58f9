"""From sources to versioned pairs: reading, checking, storing and caching pictures and texts."""
