"""Demo goods: what a new shop has on its shelves, so that there is something to buy."""
