"""Parts of the drawn catalogue: synthetic products, their appearance, their photographs, and the injected faults."""
