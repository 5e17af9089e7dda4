"""Auth and people over HTTP."""
