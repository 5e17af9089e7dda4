"""Services of memberships: the only code that writes the recorded state and the dates of subscriptions.

Locks are taken in this order: member, payment, receipt, the periods of one member and group by id, the member's visits.
"""
