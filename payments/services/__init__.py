"""The services of a payment: create, settle, release, cancel, expire. Only this package writes a payment's status.

A failed or expired payment becomes paid when its money arrives late. Money for a cancelled or refunded payment becomes
the member's credit. Rows are always locked in the order member, payment, receipt.
"""
