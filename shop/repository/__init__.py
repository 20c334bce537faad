"""Where the shop keeps its records: one contract, an implementation for the embedded store and one for PostgreSQL."""
