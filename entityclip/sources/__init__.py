"""Where pictures come from: one file per data layout."""
