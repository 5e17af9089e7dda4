"""A Django database engine: PostgreSQL, with a health check that usually needs no statement (`base.py`)."""
