"""Evidence to money: what Safaricom says becomes receipt, allocation, books, status and access in one transaction.

One M-Pesa code is one receipt, whichever channel tells of it first: the STK callback, an STK query (which knows
no code) or the C2B confirmation of the same money. Everything may come twice and in any order.
"""

from payments.evidence.confirmations import apply_c2b
from payments.evidence.outcomes import Applied, our_shortcodes
from payments.evidence.prompts import apply_stk_result

__all__ = ["Applied", "apply_c2b", "apply_stk_result", "our_shortcodes"]
