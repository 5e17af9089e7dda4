"""Numbers of PostgreSQL's advisory locks: one for each thing that has no row to lock.

A number has one meaning in a database. A lock is taken with the number alone, or with the number and a key (the second
argument), which makes a separate lock for each key.
"""

# With an amount in KES: a query that finds a success waits for a till's confirmation of the same amount, or it for the
# query.
AMOUNT = 254_001
# With the hash of an M-Pesa code: a report of the code at the desk waits for the code's confirmation, or it for the
# report.
CODE = 254_002
# With a member's id: visits of one member are added, counted and moved one at a time.
VISITS = 254_003
# Closures change only while nobody computes the days of periods. Who computes them takes the lock as shared.
CLOSURES = 254_004
# Only one development copy of the product runs on a database.
RUNNING_COPY = 254_005
# The demo gym is created once.
DEMO_GYM = 254_006
# One test process migrates the template database while the others wait.
TEST_TEMPLATE = 254_007
