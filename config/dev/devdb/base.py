"""Our PostgreSQL engine on the embedded server, which is started when the first connection is wanted."""

from django.db import OperationalError
from django.db.backends.postgresql import client

from config.dev import devdb
from config.dev.devdb.places import programs
from config.postgresql import base


def _socket_folder() -> str:
    try:
        return str(devdb.ensure(devdb.CHECKOUT))
    except devdb.DevDbError as error:
        # As for any database that is away: callbacks go to the spool, and manage.py says it in one line.
        raise OperationalError(str(error)) from error


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell` with the embedded server's own psql."""

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict, parameters):
        """Tell psql where the server is, starting it when need be."""
        settings = {**settings_dict, "HOST": _socket_folder(), "USER": devdb.ROLE}
        _, *arguments = super().settings_to_cmd_args_env(settings, parameters)[0]
        program = programs(devdb.locate(devdb.CHECKOUT)) / "psql"
        return [str(program), *arguments], None


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the embedded server."""

    client_class = DatabaseClient
    _socket_folder: str | None = None

    def get_connection_params(self):
        """Say where the server is, once there is one; the job worker asks here as well.

        Asked once in a process: a server that is gone later is noticed by the connection that fails.
        """
        if DatabaseWrapper._socket_folder is None:
            DatabaseWrapper._socket_folder = _socket_folder()
        return {**super().get_connection_params(), "host": DatabaseWrapper._socket_folder, "user": devdb.ROLE}

    def get_new_connection(self, conn_params):
        """Connect; when that fails, see that there is a server and try once more."""
        try:
            return super().get_new_connection(conn_params)
        except self.Database.OperationalError:
            _socket_folder()
            return super().get_new_connection(conn_params)
