"""Keeps tokens, keys and signed addresses out of logs, reports, job files and `run.json`.

A command writes down its arguments, because a run can only be repeated if they are known. So a
secret is refused at the start, before anything is written; credentials are found by Google's own
libraries, and data are named by `gs://` addresses, which hold none. Secrets are also removed from
what libraries log.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pix2seq_model.errors import ConfigError

# A name that says that its value is secret: `password=…`, `"client_secret": "…"`.
_NAMES = (
    r"\b(?:access_token|refresh_token|id_token|auth_token|session_token|client_secret|api_?key"
    r"|password|passwd|secret|aws_secret_access_key|aws_session_token|secret_access_key|secret_key"
    r"|AccountKey|SharedAccessKey|SharedAccessSignature|account_key|hmac_(?:key|secret)"
    r"|private_key_id)"
)
_VALUE = r"[^\s&'\";,]+"

_KINDS = {
    "a signed address": (
        r"[?&](?:X-Goog-Signature|X-Goog-Credential|X-Amz-Signature|X-Amz-Security-Token"
        r"|Signature|sig)=[^\s&'\"]+|\bhooks\.slack\.com/services/[\w/-]+"
    ),
    # A name alone before a host is a secret where the web is meant, and a log-in elsewhere.
    "a password in an address": (
        r"(?<=://)[^\s/:@]*:[^\s/@]+(?=@)|(?i:(?<=http://)|(?<=https://))[^\s/@]+(?=@)"
    ),
    "a private key": (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^\"']*"
        # The same, or a service account's file, in base64; and the contents of a key file, which
        # begin with a sequence of more than 255 bytes (ASN.1).
        r"|\bLS0tLS1CRUdJTi[A-Za-z0-9+/_-]{8,}=*|\b(?:ey|ew)[A-Za-z0-9+/]{0,12}"
        r"(?:InR5cGUi|J0eXBlI|AidHlwZS|ICJ0eXBl)[A-Za-z0-9+/_-]{20,}=*"
        r"|\bMII[A-Za-z0-9+/]{200,}=*"
    ),
    "an access token": (
        r"\bya29\.[\w.-]+|\b1//0[\w-]{20,}|\bAIza[\w-]{30,}"
        # AWS, Google's HMAC keys, GitHub, GitLab, Hugging Face.
        r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bGOOG1?[0-9A-Z]{20,}"
        r"|\bgh[pousr]_\w{30,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}"
        # Slack, the `sk-` of several services, Stripe, PyPI, npm, Azure.
        r"|\bxox[a-z]-[\w-]{10,}|\bxapp-[\w-]{10,}|\bsk-[\w-]{20,}|\b[rs]k_(?:live|test)_\w{16,}"
        r"|\bpypi-AgE[\w-]{16,}|\bnpm_[A-Za-z0-9]{30,}|(?<!\w)[\w.~-]{3}\dQ~[\w.~-]{31,}"
        r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
        r"|(?i:\b(?:bearer|basic) )[\w.~+/-]{16,}=*"
        rf"|(?i:{_NAMES})(?:=|[\"']\s*:\s*)[\"']?{_VALUE}"
    ),
}
_SECRETS = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}
_BLOT = "[secret]"


def find_secret(text: str) -> str | None:
    """What kind of secret a text holds; None if it looks like none."""
    return next((kind for kind, pattern in _SECRETS.items() if pattern.search(text)), None)


def blot_out(text: str) -> str:
    """The text with every secret replaced."""
    for pattern in _SECRETS.values():
        text = pattern.sub(_BLOT, text)
    return text


def refuse_in_arguments(arguments: Iterable[str]) -> None:
    """Raises ConfigError, which names the argument and not its value."""
    for argument in arguments:
        if kind := find_secret(argument):
            name = argument.partition("=")[0] if argument.startswith("-") else "an argument"
            _refuse(name if find_secret(name) is None else "an argument", kind)


def refuse_in_config(section: Mapping[str, Any], name: str = "") -> None:
    """Raises ConfigError, which names the setting and not its value."""
    for key, value in section.items():
        inner = f"{name}.{key}" if name else str(key)
        if isinstance(value, Mapping):
            refuse_in_config(value, inner)
        elif kind := find_secret(str(value)):
            _refuse(inner, kind)


def _refuse(name: str, kind: str) -> None:
    raise ConfigError(
        f"{name} holds {kind}, and would be written down in the run's records. Log in with `gcloud "
        "auth application-default login`, and name data as gs://bucket/folder or by a local path."
    )
