"""The life of a prompt: asked for, claimed by a worker, sent, ended. The one place that writes a push's status.

Claiming, calling and recording are separate commits. Whoever claims a push alone calls Safaricom, so a job that runs
twice, or on two workers, sends one prompt; a call whose outcome is unknown is never made again.
"""
