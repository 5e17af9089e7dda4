"""Matching: which member owns a payment to the paybill or till, by the account typed and the sender's phone."""
