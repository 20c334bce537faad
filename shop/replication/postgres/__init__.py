"""Streaming replication between two PostgreSQL servers, looked at, steered and survived, in the contract of `shop/replication`."""
