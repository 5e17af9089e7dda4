"""Test helpers: deliver codes and notices as the worker does."""

from django.core import mail
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.services import notices, one_time_codes, two_factor
from api.clock import now


def work() -> None:
    """Deliver all codes and notices that were not sent yet."""
    for job in ProcrastinateJob.objects.filter(status="todo").order_by("id"):
        match job.task_name:
            case "accounts.send_code":
                one_time_codes.deliver(**job.args, now=now())
            case "accounts.send_login_code":
                two_factor.deliver_login_code(**job.args, now=now())
            case "accounts.send_notice":
                notices.deliver(**job.args, now=now())


def code_in_mail() -> str:
    """Deliver the newest code by e-mail and return it."""
    one_time_codes.deliver(code_id=one_time_codes.OneTimeCode.objects.latest("id").pk, now=now())
    return mail.outbox[-1].body.split()[0]
