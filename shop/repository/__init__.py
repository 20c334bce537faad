"""Where the shop keeps its records: one contract, an implementation for the embedded store and (later) one for PostgreSQL."""
