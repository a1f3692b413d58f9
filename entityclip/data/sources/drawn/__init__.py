"""The drawn catalogue's workshop: invented products, how they look, their photographs, and the planted faults."""
