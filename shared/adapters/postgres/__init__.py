"""PostgreSQL with pgvector: the truth. Each statement is named by its condition, with its purpose above."""
