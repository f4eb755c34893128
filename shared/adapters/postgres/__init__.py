"""PostgreSQL with pgvector: the truth. Every statement says why it exists where its name does not."""
