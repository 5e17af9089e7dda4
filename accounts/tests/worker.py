"""Test helpers: deliver codes and notices as the worker does."""

from django.core import mail
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import OneTimeCode
from accounts.services import code_requests, notices, one_time_codes, two_factor
from api.clock import now


def work() -> None:
    """Deliver all codes and notices that were not sent yet."""
    look_up()  # it may create notices
    for job in ProcrastinateJob.objects.filter(status="todo").order_by("id"):
        match job.task_name:
            case "accounts.send_code":
                one_time_codes.deliver(**job.args, now=now())
            case "accounts.answer_code_request":
                code_requests.answer(**job.args, now=now())
            case "accounts.send_login_code":
                two_factor.deliver_login_code(**job.args, now=now())
            case "accounts.send_notice":
                notices.deliver(**job.args, now=now())


def look_up() -> None:
    """Look up the code requests that no job has answered yet, without sending their codes."""
    for row in OneTimeCode.objects.filter(user=None, used_at=None).order_by("id"):
        code_requests.look_up(code_id=row.pk, now=now())


def code_in_mail() -> str:
    """Deliver the newest code by e-mail and return it."""
    code_requests.answer(code_id=OneTimeCode.objects.latest("id").pk, now=now())
    return mail.outbox[-1].body.split()[0]
