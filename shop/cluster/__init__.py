"""A PostgreSQL pair on this machine: two servers, the link between them, and the shop's workers.

It starts programs and reads their files; it knows nothing of shops.
"""
