"""The verbs of a payment: open, prompt, settle, cancel, expire. The one place that writes a payment's status.

Money wins: a failed or expired payment becomes paid when its money turns out to have moved; money for a
cancelled or refunded one becomes member credit. Locks are always taken in the order member, payment, receipt.
"""
