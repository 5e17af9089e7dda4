"""The database engine of the embedded PostgreSQL. The first connection starts the server."""

from django.db import OperationalError
from django.db.backends.postgresql import client

from config.dev import devdb
from config.dev.devdb.places import programs
from config.postgresql import base


def _socket_folder() -> str:
    try:
        return str(devdb.ensure(devdb.CHECKOUT))
    except devdb.DevDbError as error:
        # The error of any missing database: callbacks go to the spool, and manage.py prints one line.
        raise OperationalError(str(error)) from error


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell` with the embedded server's own psql."""

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict, parameters):
        """Return the arguments of psql. Start the server if needed."""
        settings = {**settings_dict, "HOST": _socket_folder(), "USER": devdb.ROLE}
        _, *arguments = super().settings_to_cmd_args_env(settings, parameters)[0]
        program = programs(devdb.locate(devdb.CHECKOUT)) / "psql"
        return [str(program), *arguments], None


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the embedded server."""

    client_class = DatabaseClient
    _socket_folder: str | None = None

    def get_connection_params(self):
        """Return the connection parameters, after starting the server if needed. The job worker calls this too.

        The server is checked once in a process. If it ends later, `get_new_connection` fails and starts it again.
        """
        if DatabaseWrapper._socket_folder is None:
            DatabaseWrapper._socket_folder = _socket_folder()
        return {**super().get_connection_params(), "host": DatabaseWrapper._socket_folder, "user": devdb.ROLE}

    def get_new_connection(self, conn_params):
        """Connect. If that fails, start the server and try once more."""
        try:
            return super().get_new_connection(conn_params)
        except self.Database.OperationalError:
            _socket_folder()
            return super().get_new_connection(conn_params)
