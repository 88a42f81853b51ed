"""Keeps tokens, keys and signed addresses out of logs, reports, job files and `run.json`.

A command writes down its arguments, because a run can only be repeated if they are known. So a
secret is refused at the start, before anything is written; credentials are found by Google's own
libraries, and data are named by `gs://` addresses, which hold none. Secrets are also removed from
what libraries log.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pix2seq_model.errors import ConfigError

_BLOT = "[secret]"

# A name that says that its value is secret, with whatever stands before it: `DB_PASSWORD=…`,
# `"client_secret": "…"`, `aws_secret_access_key = …`.
_NAMES = (
    r"(?i:access_?token|refresh_?token|(?<![a-z0-9])id_?token|auth_?token|session_?token"
    r"|security_?token|:_auth|api[_-]?key|client_?secret|passw(?:or)?d|secret"
    r"|secret_?access_?key|secret_?key|account_?key|shared_?access_?(?:key|signature)"
    r"|hmac_?key|private_?key(?:_?id)?)"
)
_END_OF_NAME = r"(?:\\?[\"'])?"
_SEPARATOR = rf"{_END_OF_NAME}[ \t]*[=:][ \t]*"
# What messages say of a secret.
_SAID_OF_IT = (
    "required|missing|wrong|invalid|incorrect|expired|optional|mandatory|unset|unknown|undefined"
    "|redacted|removed|hidden|encrypted|generated|provided|given|specified|described|configured"
)
# What only stands for a value, or is none: a variable or its name, a gap to fill in, a count.
_NO_VALUE = (
    r"(?!(?:\\?[\"'])?(?:\$\w+|\$\([^()\n]*\)?|[$%]?[{(][^{}()\s]*[})]s?|<[^<>\n]*>|\*+|\.\.\.|…"
    rf"|\d{{1,3}}|\d*\.\d+|[A-Z]+(?:_[A-Z]+)+|(?i:none|null|true|false|{_SAID_OF_IT})|{re.escape(_BLOT)})(?:[\s&'\";,)\]}}\\]|$))"
)
# No end is asked for, so that a text without one is not searched again from each name on.
_QUOTED = r"(?:\"(?:[^\"\\\n]|\\.)+|'(?:[^'\\\n]|\\.)+|\\[\"'](?:[^\"'\\\n]|\\[^\"'])+)"
_BARE = r"[^\s&'\";,]"
# As base64 is: slashes alone make a path. How far a text is looked through has a limit, so that it
# is not searched to its end from each name on.
_MIXED = rf"(?={_BARE}{{0,200}}?\d)(?={_BARE}{{0,200}}?[A-Z])(?={_BARE}{{0,200}}?[a-z])"
_WITH_SLASHES = rf"(?:{_MIXED}(?:(?!/|\w+://){_BARE}{{16,}}|/[A-Za-z0-9+/]{{39,}}=*))"
# Behind a colon or between blanks sentences have words, short ones mostly, and counts.
_IN_A_SENTENCE = (
    rf"(?:(?!{_BARE}{{0,200}}?/)(?:{_BARE}{{8,}}"
    rf"|(?={_BARE}{{0,7}}?\d)(?={_BARE}{{0,7}}?[A-Za-z]){_BARE}{{6,}})|{_WITH_SLASHES})"
)
_NAMED = (
    rf"{_NAMES}(?:{_SEPARATOR}{_NO_VALUE}{_QUOTED}|{_END_OF_NAME}=(?![ \t]){_NO_VALUE}{_BARE}+"
    rf"|{_END_OF_NAME}(?:[ \t]*:[ \t]*|[ \t]+=[ \t]*|=[ \t]+){_NO_VALUE}{_IN_A_SENTENCE})"
)


def _in_base64(text: bytes) -> str:
    """A pattern of what is the same in base64 wherever in a file the text begins."""
    found = []
    for shift, first in enumerate((0, 2, 3)):
        encoded = base64.b64encode(b"\0" * shift + text).decode()
        found.append(re.escape(encoded[first : (shift + len(text)) * 8 // 6]))
    return "|".join(found)


_KEY_IN_BASE64 = _in_base64(b'"private_key"')
# `base64` breaks its lines after 76 letters; the last one has what is left.
_BREAK = r"(?:\\n|\r?\n)"
_MORE_LINES = rf"(?:{_BREAK}[A-Za-z0-9+/]{{60,76}})*(?:{_BREAK}[A-Za-z0-9+/]+=*(?![^\s\\\"']))?"

_KINDS = {
    "a signed address": (
        r"[?&](?:X-Goog-Signature|X-Goog-Credential|X-Amz-Signature|X-Amz-Security-Token"
        r"|Signature|sig)=[^\s&'\"]+|\bhooks\.slack\.com/services/[\w/-]+"
    ),
    # A name alone before a host is a secret where the web is meant, and a log-in elsewhere.
    "a password in an address": (
        r"(?<=://)[^\s/:@]*:[^\s/]+(?=@)|(?i:(?<=http://)|(?<=https://))[^\s/]+(?=@)"
    ),
    "a private key": (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^\"']*"
        # The same, or a service account's file, in base64.
        r"|(?:\bLS0tLS1CRUdJTi[A-Za-z0-9+/_-]{8,}=*|\b(?:ey|ew)[A-Za-z0-9+/]{0,12}"
        r"(?:InR5cGUi|J0eXBlI|AidHlwZS|ICJ0eXBl)[A-Za-z0-9+/_-]{20,}=*"
        rf"|(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]*?(?:{_KEY_IN_BASE64})"
        rf"[A-Za-z0-9+/_-]{{20,}}=*){_MORE_LINES}"
        # The contents of a key file (ASN.1): RSA's begin with a sequence of more than 255 bytes;
        # then those of elliptic curves of 256, 384 and 521 bits, by themselves and as PKCS #8, and
        # of Ed25519.
        r"|\bMII[A-Za-z0-9+/]{200,}=*|\bM(?:H[Qc]CAQEE|IGkAgEB|IHcAgEB|IG[EH2]AgEA|IHuAgEA)"
        r"[A-Za-z0-9+/]{60,}=*|\bMC4CAQAwBQYDK2Vw[A-Za-z0-9+/]{40,}=*"
    ),
    "an access token": (
        r"\bya29\.[\w.-]+|\b1//0[\w-]{20,}|\bAIza[\w-]{30,}"
        # AWS, Google's HMAC keys, GitHub, GitLab, Hugging Face.
        r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bGOOG1?[0-9A-Z]{20,}"
        r"|\bgh[pousr]_\w{30,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}"
        # Slack, the `sk-` of several services, Stripe, PyPI, npm, Azure. Names such as sk-learn-x
        # have no long part, nor one with digits and capitals.
        r"|\bxox[a-z]-[\w-]{10,}|\bxapp-[\w-]{10,}"
        r"|\bsk-(?=[\w-]{20})(?:[\w-]{0,200}?-)?(?:\w{20,}|(?=\w*\d)(?=\w*[A-Z])\w{8,})[\w-]*"
        r"|\b[rs]k_(?:live|test)_\w{16,}"
        r"|\bpypi-AgE[\w-]{16,}|\bnpm_[A-Za-z0-9]{30,}|(?<!\w)[\w.~-]{3}\dQ~[\w.~-]{31,}"
        r"|(?<![\w-])eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
        # Sentences have long words and words with dashes there.
        r"|(?i:\b(?:bearer|basic) )(?=[\w.~+/-]*(?:\d|[a-z][A-Z]))[\w.~+/-]{16,}=*"
        rf"|{_NAMED}"
        # Tokens are the project's own word too.
        rf"|(?<=[A-Z0-9]_)TOKEN{_SEPARATOR}[\"']?"
        rf"(?:(?![\w.~+-]*/)[\w.~+-]{{16,}}=*|{_WITH_SLASHES})"
    ),
}
_SECRETS = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}


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
        elif kind := find_secret(f"{key}={value}"):
            _refuse(inner, kind)


def _refuse(name: str, kind: str) -> None:
    raise ConfigError(
        f"{name} holds {kind}, and would be written down in the run's records. Log in with `gcloud "
        "auth application-default login`, and name data as gs://bucket/folder or by a local path."
    )
