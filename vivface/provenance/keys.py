"""The key that signs manifests: given, or made on this machine at first use.

A key is given by `VIVFACE_SIGNING_KEY` and `VIVFACE_SIGNING_CERTIFICATES`, PEM files of a private key (not encrypted)
and of its certificates, the signer's first. Otherwise one is made in the folder `VIVFACE_KEYS`, by default
`$XDG_CONFIG_HOME/vivface` or `~/.config/vivface`: a certificate authority signs one certificate, and its own key is
thrown away. Such a key proves that a file has not changed since this machine signed it; who that was nobody certifies.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vivface.errors import OptionError

ORGANIZATION = "a key that vivface made for its user"
_KEY, _CERTIFICATES = "signing-key.pem", "signing-certificates.pem"
_YEARS = 10
_ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class SigningKey:
    """A private key and its certificates.

    Attributes:
        algorithm (`str`): C2PA's name, such as `"es256"`.
        certificates (`str`): PEM, the signer's first.
        private_key (`str`): PEM, PKCS 8. It is left out when the object is shown.
        timestamps (`str`, *optional*): Address of a time-stamping authority (RFC 3161), asked at every signature.
    """

    algorithm: str
    certificates: str
    private_key: str
    timestamps: str | None = None

    def __repr__(self) -> str:
        return f"SigningKey(algorithm={self.algorithm!r})"


def key_folder() -> Path:
    """Where the key of this machine is kept."""
    if given := os.environ.get("VIVFACE_KEYS"):
        return Path(given)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "vivface"


def signing_key() -> SigningKey:
    """The key that the environment names, else the one of this machine, which is made if there is none.

    `VIVFACE_TIMESTAMPS` may name a time-stamping authority.

    Raises:
        OptionError: If a file cannot be read or written, or holds no usable key.
    """
    key, certificates = os.environ.get("VIVFACE_SIGNING_KEY"), os.environ.get("VIVFACE_SIGNING_CERTIFICATES")
    timestamps = os.environ.get("VIVFACE_TIMESTAMPS") or None
    if bool(key) != bool(certificates):
        raise OptionError(
            "Only one of VIVFACE_SIGNING_KEY and VIVFACE_SIGNING_CERTIFICATES is set: set both, or neither to use a "
            "key of this machine."
        )
    if key and certificates:
        return _read(Path(key), Path(certificates), timestamps)
    folder = key_folder()
    paths = folder / _KEY, folder / _CERTIFICATES
    if not (all(path.is_file() for path in paths) and _still_valid(paths[1])):
        try:
            _make(*paths)
        except OSError as error:
            raise OptionError(
                f"Cannot make a signing key in '{folder}': {error.strerror or error}; name another folder by "
                "VIVFACE_KEYS, or go without a manifest."
            ) from error
    return _read(*paths, timestamps)


def trusted_certificates() -> str | None:
    """PEM certificates that count as trusted here: those of this machine's key, and of the file VIVFACE_TRUST_ANCHORS.

    Raises:
        OptionError: If that file cannot be read.
    """
    found = []
    own = key_folder() / _CERTIFICATES
    if own.is_file():
        found.append(_text(own))
    if given := os.environ.get("VIVFACE_TRUST_ANCHORS"):
        found.append(_text(Path(given)))
    return "\n".join(found) or None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no PEM file"
        raise OptionError(f"Cannot read '{path}': {reason}.") from error


def _read(key: Path, certificates: Path, timestamps: str | None) -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = _text(key)
    try:
        private = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError) as error:
        raise OptionError(f"'{key}' holds no private key in PEM, without a password, which signing needs.") from error
    if isinstance(private, ec.EllipticCurvePrivateKey):
        algorithm = _ALGORITHMS.get(private.curve.name)
    else:
        kinds = {ed25519.Ed25519PrivateKey: "ed25519", rsa.RSAPrivateKey: "ps256"}
        algorithm = next((name for kind, name in kinds.items() if isinstance(private, kind)), None)
    if algorithm is None:
        raise OptionError(f"'{key}' is of a kind that C2PA does not sign with: use ECDSA P-256, Ed25519 or RSA.")
    return SigningKey(algorithm, _text(certificates), text, timestamps)


def _still_valid(certificates: Path) -> bool:
    from cryptography import x509

    try:
        first = x509.load_pem_x509_certificates(certificates.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return False
    return first.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1)


def _make(key: Path, certificates: Path) -> None:
    """Make a key and its two certificates, as C2PA asks for them (an end entity is not signed by itself)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION)
        return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def usage(*asked: str) -> x509.KeyUsage:
        kinds = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        kinds += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
        return x509.KeyUsage(**{kind: kind in asked for kind in kinds})

    authority, private = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    begin = datetime.now(UTC) - timedelta(days=1)
    issuer = name("Authority made for one key")

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=365 * _YEARS))
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)

    top = certificate(issuer, authority.public_key())
    top = top.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    top = top.add_extension(usage("key_cert_sign", "crl_sign"), critical=True).sign(authority, hashes.SHA256())
    end = certificate(name(f"Signer {secrets.token_hex(4)}"), private.public_key())
    end = end.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    end = end.add_extension(usage("digital_signature"), critical=True)
    end = end.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    end = end.add_extension(issued_by, critical=False).sign(authority, hashes.SHA256())

    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    folder = key.parent
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in (
        (certificates, end.public_bytes(pem) + top.public_bytes(pem)),
        (key, private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)),
    ):
        temporary = folder / f".{path.name}-{secrets.token_hex(8)}"
        with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
        os.replace(temporary, path)
