"""Messages to people: by e-mail to an e-mail address, by SMS to a phone number."""

from django.conf import settings
from django.core.mail import send_mail

from accounts import sms


def send(*, contact: str, subject: str, text: str) -> None:
    """Send one message. Call it only from a job: it waits for the mail server or the SMS gateway.

    :raises SmsNotSent: the gateway refused the message
    """
    if "@" in contact:
        send_mail(f"{settings.CLUB_NAME}: {subject}", text, None, [contact])
    else:
        sms.send(phone=contact, text=text)
