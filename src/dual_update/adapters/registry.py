"""Registries: which content a reference names now.

One request per reference (OCI distribution specification, "Pulling manifests"), after the token exchange
that the registry asks for (distribution, "Token authentication"). Credentials are docker's own: `auths`,
`credsStore` and `credHelpers` of its config.json, read by the docker package. No engine is needed.
"""

import hashlib
import ipaddress
import re
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx

from dual_update.core.errors import WorldError
from dual_update.core.model import ImageRef

ANSWER_SECONDS = 15.0
LARGEST_MANIFEST_BYTES = 4 * 1024 * 1024  # what registries accept at most (distribution specification)

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")
_PATH = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class HttpRegistry:
    """Asks registries by HTTP. Loopback registries are spoken to without TLS, as the engine does."""

    def __init__(self) -> None:
        self._client = httpx.Client(timeout=ANSWER_SECONDS, follow_redirects=True)
        self._credentials: Any = None
        self._one_reader = threading.Lock()

    def __enter__(self) -> "HttpRegistry":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def digest(self, reference: str) -> str | None:
        """The digest that a tag names now, of the index where the image has several platforms; None when
        the registry has no such tag. Raises WorldError, naming the registry, for any other answer."""
        host, repository, tag = split(reference)
        where = _HUB_HOST if host == _HUB else host
        url = f"{'http' if is_loopback(where) else 'https'}://{where}/v2/{repository}/manifests/{tag}"
        try:
            answer = self._ask("HEAD", url, host, repository)
            if answer.status_code == 404:
                return None
            if answer.status_code != 200:
                raise WorldError(_refusal(host, answer.status_code))
            named = answer.headers.get("Docker-Content-Digest")
            return named or self._hashed(url, host, repository)
        except httpx.HTTPError as error:
            raise WorldError(f"Registry {host} does not answer: {error or type(error).__name__}.") from error

    def _hashed(self, url: str, host: str, repository: str) -> str:
        body = self._ask("GET", url, host, repository)
        if body.status_code != 200 or len(body.content) > LARGEST_MANIFEST_BYTES:
            raise WorldError(_refusal(host, body.status_code))
        return f"sha256:{hashlib.sha256(body.content).hexdigest()}"

    def _ask(self, method: str, url: str, host: str, repository: str) -> httpx.Response:
        headers = {"Accept": _MANIFESTS}
        answer = self._client.request(method, url, headers=headers)
        if answer.status_code != 401:
            return answer
        challenge = answer.headers.get("WWW-Authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        known = self._known(host)
        if scheme.lower() == "bearer":
            token = self._token(dict(_PARAMETER.findall(rest)), known, host, repository)
            return self._client.request(method, url, headers={**headers, "Authorization": f"Bearer {token}"})
        if scheme.lower() == "basic" and known.get("Username"):
            return self._client.request(
                method, url, headers=headers, auth=(known["Username"], known.get("Password") or "")
            )
        return answer

    def _token(
        self, parameters: Mapping[str, str], known: Mapping[str, str], host: str, repository: str
    ) -> str:
        realm = parameters.get("realm", "")
        at = urlsplit(realm)
        if at.scheme != "https" and not (at.scheme == "http" and is_loopback(at.netloc)):
            raise WorldError(f"Registry {host} wants a token from {realm!r}, which is no https address.")
        asked = {
            "service": parameters.get("service", ""),
            "scope": parameters.get("scope") or f"repository:{repository}:pull",
        }
        identity = known.get("IdentityToken")
        if identity:
            form = {
                **asked,
                "grant_type": "refresh_token",
                "refresh_token": identity,
                "client_id": "dual-update",
            }
            answer = self._client.post(realm, data=form)
        else:
            name = known.get("Username")
            auth = (name, known.get("Password") or "") if name else None
            answer = self._client.get(realm, params=asked, auth=auth)
        if answer.status_code != 200:
            raise WorldError(_refusal(host, answer.status_code))
        with suppress(ValueError, AttributeError):
            given = answer.json()
            token = given.get("token") or given.get("access_token")
            if isinstance(token, str):
                return token
        raise WorldError(f"Registry {host} gave no token.")

    def _known(self, host: str) -> Mapping[str, str]:
        """Docker's credentials for a registry; none is an answer too, for public images."""
        from docker import auth, errors

        with (
            self._one_reader,
            warnings.catch_warnings(),
        ):  # a helper may ask a keyring: one question at a time
            warnings.simplefilter("ignore")  # the error says it, too
            try:
                if self._credentials is None:
                    self._credentials = auth.load_config()
                found = self._credentials.resolve_authconfig(auth.INDEX_NAME if host == _HUB else host)
            except errors.DockerException as error:
                raise WorldError(f"Docker's credentials for {host} cannot be read: {error}") from error
        given = {str(key).lower(): value for key, value in (found or {}).items() if isinstance(value, str)}
        return {name: given.get(name.lower(), "") for name in ("Username", "Password", "IdentityToken")}


def split(reference: str) -> tuple[str, str, str]:
    """Registry, repository and tag of a reference. Raises WorldError for what is none: the parts go into
    an address, and they come from strangers."""
    name, _, _ = ImageRef.parse(reference).canonical.partition("@")
    host, _, rest = name.partition("/")
    repository, _, tag = rest.rpartition(":")
    if not (_HOST.fullmatch(host) and _PATH.fullmatch(repository) and _TAG.fullmatch(tag)):
        raise WorldError(f"{reference!r} is no image reference that a registry could be asked for.")
    return host, repository, tag


def is_loopback(host: str) -> bool:
    """Does a host, with or without a port, name this very machine."""
    name = host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


def _refusal(host: str, code: int) -> str:
    if code in (401, 403):
        return f"Registry {host} refuses ({code}); log in with: docker login {host}"
    if code == 429:
        return f"Registry {host} asks to come back later (429)."
    return f"Registry {host} answered {code}."
