"""Apply a stored callback again, after the cause of its failure was repaired. What it has done is not done twice."""

from django.core.management.base import BaseCommand, CommandError

from api.clock import now
from payments.callbacks import inbox
from payments.models import Callback


class Command(BaseCommand):
    """Print the outcome of each callback; exit non-zero when one could not be applied."""

    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("ids", nargs="+", type=int, metavar="ID", help="id of the callback")

    def handle(self, *args, ids: list[int], **options):
        failed = 0
        for callback_id in ids:
            try:
                outcome = inbox.replay(callback_id=callback_id, now=now())
            except Callback.DoesNotExist:
                raise CommandError(f"There is no callback {callback_id}.") from None
            except Exception as error:
                failed += 1
                self.stderr.write(f"{callback_id}: could not be applied: {type(error).__name__}: {error}")
            else:
                self.stdout.write(f"{callback_id}: {outcome}")
        if failed:
            raise CommandError(f"{failed} of {len(ids)} could not be applied.")
