"""Matching: whose money it is, from the account typed and the sender's phone."""
