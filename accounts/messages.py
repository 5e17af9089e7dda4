"""Messages to people: an e-mail or an SMS, as the address says."""

from django.conf import settings
from django.core.mail import send_mail

from accounts import sms


def send(*, address: str, subject: str, text: str) -> None:
    """Send one message. Call it from a job: it waits for the server that takes it.

    :raises SmsNotSent: the gateway did not take it
    """
    if "@" in address:
        send_mail(f"{settings.CLUB_NAME}: {subject}", text, None, [address])
    else:
        sms.send(phone=address, text=text)
