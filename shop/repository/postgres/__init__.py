"""The repository over PostgreSQL: two servers, of which one is primary. See DESIGN.md beside this."""
