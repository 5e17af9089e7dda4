"""How periodic jobs are tried again when they fail, for example after a lock timeout or while the database restarts."""

from procrastinate import RetryStrategy

# Jobs that run every few seconds or minutes: their next run does the same work.
OFTEN = RetryStrategy(max_attempts=4, wait=5)
# Jobs of the night, whose next run is a day away: after 4 and 16 seconds, 1, 4, 17 and 68 minutes.
NIGHTLY = RetryStrategy(max_attempts=7, exponential_wait=4)
