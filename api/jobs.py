"""Jobs that write and delete the files of exports. Each may run twice."""

from procrastinate.contrib.django import app

from api import retries
from api.admin import exports
from api.clock import now


@app.task(name="api.write_export", retry=retries.OFTEN)
def write_export(export_id: int) -> None:
    """Write the file of one large export."""
    exports.write_export(export_id=export_id, now=now())


@app.periodic(cron="20 3 * * *")
@app.task(name="api.forget_old_files", retry=retries.NIGHTLY, queueing_lock="api.forget_old_files")
def delete_old_files(timestamp: int) -> None:
    """Delete the files of exports that are over a week old."""
    exports.delete_old_files(now=now())
