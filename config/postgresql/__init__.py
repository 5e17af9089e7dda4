"""The name of a Django database engine: PostgreSQL, with a health check that costs no statement (`base.py`)."""
