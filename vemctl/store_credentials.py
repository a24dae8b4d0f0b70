"""Whether there are credentials at all, found out in seconds.

Without any, obstore asks the metadata service of a cloud machine, again and again where there is
none.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from vemctl.store_failures import NO_CREDENTIALS

PATIENCE = 2.0
"""Seconds; a metadata service is on the same machine and answers at once."""
_GIVEN = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SKIP_SIGNATURE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    "gs": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_BEARER_TOKEN",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SKIP_SIGNATURE",
    ),
}
_WELL_KNOWN = ".config/gcloud/application_default_credentials.json"
_AWS_FILE = ".aws/credentials"


def require_credentials(scheme: str, where: str) -> None:
    """Refuse a bucket when nothing says who asks.

    Parameters
    ----------
    scheme : {"s3", "gs", "https", "http"}
    where : str
        For the error.

    Raises
    ------
    PermissionError
        Names what to set.
    """
    if scheme not in _GIVEN or any(os.environ.get(name) for name in _GIVEN[scheme]):
        return
    if scheme == "gs" and (Path.home() / _WELL_KNOWN).exists():
        return
    if scheme == "s3":
        service = os.environ.get("AWS_METADATA_ENDPOINT") or "http://169.254.169.254"
        if _answers(service, "PUT", "/latest/api/token"):
            return
    elif _answers("http://169.254.169.254", "GET", "/computeMetadata/v1/"):
        return
    reason = NO_CREDENTIALS[scheme]
    if scheme == "s3" and (Path.home() / _AWS_FILE).exists():
        reason += "; ~/.aws is not read, but aws configure export-credentials --format env shows it"
    raise PermissionError(errno.EACCES, reason, where)


@lru_cache(maxsize=8)
def _answers(service: str, method: str, path: str) -> bool:
    """Tell whether the metadata service of a cloud machine is there."""
    import http.client  # slow to import, and needed by few

    address = urlsplit(service)
    headers = {
        "X-aws-ec2-metadata-token-ttl-seconds": "60",
        "Metadata-Flavor": "Google",
        "Content-Length": "0",
    }
    connection = http.client.HTTPConnection(address.netloc, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
