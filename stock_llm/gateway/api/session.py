"""Sessions of the pages: a signed cookie in place of the token, and the tokens against forged
requests (CSRF).

The cookie is HttpOnly and SameSite=Strict: no other site's page can make a browser send it, and no
script can read it. It counts for the pages alone; the APIs ask for the token itself. Whoever is
shown a form gets a second token that is derived from the cookie, and every request that changes
something has to bring it along. Signatures are itsdangerous'.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request, cookie_parser
from starlette.responses import Response

COOKIE = "stock_llm_session"
CSRF_FIELD, CSRF_HEADER = "csrf_token", "x-csrf-token"

PAGES_PREFIX = "/pages/"
"""Paths of pages, besides "/"; the cookie counts for them."""

LOGIN, STATIC = "/pages/login", "/pages/static/"
"""What is shown to people who have no session yet."""

SESSION_SECONDS = 30 * 86_400

_SALT = "stock-llm.gateway.session"


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that was let in.

    Attributes:
        user: the name whose token was given; empty for the common one, and where none is asked for.
        csrf: what requests that change something have to bring along.
        cookie: the value of the cookie.
    """

    user: str
    csrf: str
    cookie: str


class Sessions:
    """Makes and checks sessions.

    Args:
        key: signs the cookies.
        tokens: name → token of each who may call; a session ends when its token changes. Empty:
            nobody is asked, and everybody's session is the same user's.
    """

    def __init__(self, key: bytes, tokens: Mapping[str, bytes]):
        self._key, self._tokens = key, tokens
        self._serializer = URLSafeTimedSerializer(key, salt=_SALT)

    @property
    def asks(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._tokens)

    def user_of(self, token: str) -> str | None:
        """Whose token it is; None: nobody's."""
        given, user = token.strip().encode(), None
        for name, value in self._tokens.items():
            if hmac.compare_digest(given, value):
                user = name
        return user

    def read(self, cookies: str) -> Session | None:
        """The session of a header Cookie; None where there is none that counts."""
        value = cookie_parser(cookies).get(COOKIE, "")
        try:
            content = self._serializer.loads(value, max_age=SESSION_SECONDS)
            user, token = content["user"], content["token"]
        except (BadSignature, KeyError, TypeError):
            return None
        if token != self._token_digest(user) or (self.asks and user not in self._tokens):
            return None
        return Session(user, self._csrf(value), value)

    def new(self, user: str) -> Session:
        """A session for a browser, which gets it by `send`."""
        content = {"user": user, "token": self._token_digest(user), "id": secrets.token_hex(8)}
        cookie = str(self._serializer.dumps(content))
        return Session(user, self._csrf(cookie), cookie)

    def send(self, session: Session, request: Request, response: Response) -> None:
        """Puts the cookie into a response."""
        response.set_cookie(
            COOKIE,
            session.cookie,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    def end(self, response: Response) -> None:
        """Takes the session away from a browser."""
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")

    def _token_digest(self, user: str) -> str:
        token = self._tokens.get(user, b"")
        return hmac.new(self._key, b"token:" + token, hashlib.sha256).hexdigest()[:16]

    def _csrf(self, cookie: str) -> str:
        return hmac.new(self._key, b"csrf:" + cookie.encode(), hashlib.sha256).hexdigest()[:32]


def is_page(path: str) -> bool:
    """Whether a path is one of the pages or of what belongs to them."""
    return path == "/" or path.startswith(PAGES_PREFIX)


def wants_html(accept: str) -> bool:
    """Whether a header Accept names HTML, as that of every browser does and no API client's."""
    kinds = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return "text/html" in kinds
