"""Putting a shop together: one module for each kind of storage, each with one `open_parts(config, clock)`."""
