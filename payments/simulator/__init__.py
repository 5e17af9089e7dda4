"""The simulator: a local Daraja with phones in the browser, in a separate process that is used over HTTP only.

It and the product import nothing of each other (api/tests/test_boundaries.py), so that it works with any other product
too. docs/simulator.md is its manual.
"""
