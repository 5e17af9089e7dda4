"""STK pushes: a push is requested, claimed by one worker, sent, queried and ended. Only this package writes its status.

Claiming a push, calling Safaricom and recording the answer are separate commits. Only the worker that has claimed a
push calls Safaricom, so a job that runs twice, or on two workers, sends one push. A call with an unknown outcome is
never repeated.
"""
