"""Evidence to money: what Safaricom says becomes receipt, allocation, books, status and access in one transaction.

One M-Pesa code is one receipt, whichever channel tells of it first: the STK callback, an STK query (which knows
no code) or the C2B confirmation of the same money. Everything may come twice and in any order.
"""
