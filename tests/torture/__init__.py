"""The store and its replication tortured, and counted: `make torture` runs every block whole, `make test` a lane of each."""
