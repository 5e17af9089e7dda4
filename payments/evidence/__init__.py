"""Evidence: a message from Safaricom becomes receipt, allocation, ledger entries and payment status in one transaction.

One M-Pesa code is one receipt, whichever message reports it first: the STK callback, an STK query (which knows no
code) or the C2B confirmation of the same money. Messages may arrive more than once and in any order. Start with the
decision tables in stk_results and c2b_confirmations.
"""
