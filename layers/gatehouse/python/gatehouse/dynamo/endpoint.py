"""Where DynamoDB is, and who calls it: read from the variables that Lambda and the engine set."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from gatehouse.core import settings
from gatehouse.dynamo.signing import Credentials

# Host suffixes of the partitions, by the start of a region's name.
_SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
}
_SUFFIX = "amazonaws.com"  # of aws and aws-us-gov
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of DynamoDB. `scheme` is http or https; `host` has no brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header: a port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class EndpointInvalid(Exception):
    """A variable with an endpoint's URL is not one; the message names the variable."""


def read_region() -> str:
    """Return the region: Lambda sets both variables, the engine and shells often one."""
    return settings.of_aws("AWS_REGION") or settings.of_aws("AWS_DEFAULT_REGION") or "us-east-1"


def read_endpoint(region: str) -> Endpoint:
    """Return the region's endpoint, or the one that a variable names.

    Raises EndpointInvalid.
    """
    for variable in ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"):
        url = settings.of_aws(variable)
        if url:
            return _parse(url, variable)
    suffix = next((name for start, name in _SUFFIXES.items() if region.startswith(start)), _SUFFIX)
    return Endpoint("https", f"dynamodb.{region}.{suffix}", 443)


def find_credentials() -> Credentials | None:
    """Return the credentials of the environment, where a Lambda function has them for its life."""
    key_id, secret, token = map(
        settings.of_aws, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    )
    return Credentials(key_id, secret, token) if key_id and secret else None


def _parse(url: str, variable: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise EndpointInvalid(f"{variable} must be a URL such as http://127.0.0.1:4566")
    return Endpoint(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])
