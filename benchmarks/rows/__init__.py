"""One module a subject, each with its ROWS."""
