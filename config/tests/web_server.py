"""A real gunicorn under a parent that holds its listening socket, as systemd does with a socket unit."""

import os
import signal
import socket
import subprocess
import sys
import time

import requests
from django.conf import settings
from django.db import connection

# systemd passes the socket as file descriptor 3 and names the process that it is for (sd_listen_fds(3)).
AS_SYSTEMD = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"'


class WebServer:
    """A listening socket, and one gunicorn after another that answers it on the test's database."""

    def __init__(self, state_dir, **environment):
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.log = state_dir / "web-server.log"
        params = connection.get_connection_params()
        self.environment = {
            "PATH": os.environ["PATH"],
            "ENVIRONMENT": "development",
            "STATE_DIR": str(state_dir),
            "DATABASE_URL": f"postgresql://{params['user']}@/{params['dbname']}?host={params['host']}",
            "SECRET_KEY": settings.SECRET_KEY,
            "C2B_SECRET": settings.C2B_SECRET,
            "DARAJA_ENVIRONMENT": "simulator",
            "DARAJA_SHORTCODE": settings.DARAJA_SHORTCODE,
            **environment,
        }
        self.process = None

    def start(self):
        """Start gunicorn with the socket as file descriptor 3. It need not answer yet."""
        command = ["/bin/sh", "-c", AS_SYSTEMD, sys.executable, "-m", "gunicorn", "config.wsgi", "--preload"]
        command += ["--no-control-socket", "--worker-class", "gthread", "--workers", "2", "--threads", "4"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                cwd=settings.BASE_DIR,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[3],
                preexec_fn=lambda: os.dup2(self.listening.fileno(), 3),
                start_new_session=True,
            )

    def wait_until_ready(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{self.url}/healthz", timeout=60).ok:
                    return
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """Stop gunicorn as systemd does, and wait for its end. The socket stays."""
        self.process.terminate()
        assert self.process.wait(40) == 0, self.log.read_text()

    def kill(self):
        """Kill the whole of gunicorn, as a loss of power does. The socket stays."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.listening.close()
