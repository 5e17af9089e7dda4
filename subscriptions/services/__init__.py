"""The verbs of memberships; the only writers of a subscription's fact and dates.

Locks are taken in the order member, payment, receipt, then the periods of one member and group by id, then the
member's visits.
"""
