"""A notification block that mails through an SMTP server, which Prefect itself has none of.

`prefect block register -m flows.mail` offers it as "Mail" in the server's pages.
"""

import hashlib
import smtplib
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Literal

from prefect.blocks.abstract import NotificationBlock
from pydantic import Field, SecretStr

TIMEOUT = 20.0  # seconds without a word from the mail server


class Mail(NotificationBlock):
    """Mails each notification to one address, as plain text."""

    _block_type_name = "Mail"

    host: str = Field(description="Name or address of the SMTP server.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port: mostly 587, 465 with TLS, 25 without any.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="none: only to a server on the same machine or a network of your own."
    )
    user: str | None = Field(default=None, description="Where the server asks for one.")
    password: SecretStr | None = Field(default=None, description="The user's.")
    sender: str = Field(description="The address the mail comes from.", examples=["billing@example.com"])
    # One, so that a message has arrived or has not; a group's own address reaches many.
    recipient: str = Field(description="The address it goes to.", examples=["care@example.com"])

    def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]  # called by sync code alone
        """Sends one mail; a return means that the server has taken it.

        :raises OSError: the server cannot be reached, or refuses the mail (an `smtplib.SMTPException`)
        """
        with closing(self._connection()) as server:
            if self.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self.user:
                server.login(self.user, self.password.get_secret_value() if self.password else "")
            server.send_message(self._mail(subject or "", body))
            with suppress(OSError):  # taken is taken, whatever becomes of the goodbye
                server.quit()

    def _connection(self) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=ssl.create_default_context())
        return smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)

    def _mail(self, subject: str, body: str) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, self.recipient, subject
        mail["Date"] = formatdate()
        # The same words have the same id, so that a mail sent twice can be told from two.
        words = hashlib.sha256("\n".join((self.recipient, subject, body)).encode()).hexdigest()
        mail["Message-ID"] = f"<{words[:32]}@{parseaddr(self.sender)[1].rpartition('@')[2]}>"
        mail.set_content(body)
        return mail
