"""A mail server on this machine, for tests: speaks SMTP, keeps what it takes, refuses what it is told to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from socketserver import StreamRequestHandler, ThreadingTCPServer


@dataclass
class MailServer:
    """What came in. `refusals` says, by a word of the subject, what to answer the next mails instead of taking them."""

    port: int
    taken: list[EmailMessage] = field(default_factory=list)
    refusals: dict[str, list[str]] = field(default_factory=dict)

    def answer(self, mail: EmailMessage) -> str:
        """Takes a mail or refuses it."""
        for word, answers in self.refusals.items():
            if word in mail["Subject"] and answers:
                return answers.pop(0)
        self.taken.append(mail)
        return "250 taken"

    def subjects(self) -> list[str]:
        """What the mails taken are about, in order."""
        return [str(mail["Subject"]) for mail in self.taken]


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server on a free port, until the end of the block."""

    class Session(StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 ready")
            for line in self.rfile:
                match line[:4].upper():
                    case b"DATA":
                        self._say("354 go on")
                        self._say(mails.answer(self._mail()))
                    case b"QUIT":
                        self._say("221 bye")
                        return
                    case _:
                        self._say("250 well")

        def _mail(self) -> EmailMessage:
            lines = [line.removeprefix(b".") for line in iter(self.rfile.readline, b".\r\n")]
            mail = message_from_bytes(b"".join(lines), policy=default)
            assert isinstance(mail, EmailMessage)
            return mail

        def _say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        mails = MailServer(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield mails
        server.shutdown()
