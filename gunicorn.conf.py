"""What gunicorn does in each worker process. It reads this file in the folder where it starts."""

movers = {}


def post_worker_init(worker):
    """Start moving this host's spooled callbacks, after the fork and with the application loaded."""
    from payments.callbacks.spool_mover import SpoolMover

    movers[worker.pid] = SpoolMover()
    movers[worker.pid].start()


def worker_exit(server, worker):
    """Stop moving, when the process ends by SIGTERM or after its last request."""
    if worker.pid in movers:
        movers[worker.pid].stop()
