"""The store in PostgreSQL with pgvector, for any number of processes."""
