"""A faithful local Daraja with a phone in the browser: a process of its own, spoken to over HTTP only.

It imports nothing of the product and the product imports nothing of it (api/tests/test_boundaries.py),
so it can stand in for Safaricom beside any other product too. docs/simulator.md is its manual.
"""
