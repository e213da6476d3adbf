# SPDX-License-Identifier: Apache-2.0
"""Files with Content Credentials (C2PA), signed on the spot with a certificate chain made for the test."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True)
class Signer:
    """A certificate chain, leaf first, the key of the leaf, and the root alone, all in PEM."""

    chain: bytes
    key: bytes
    root: bytes


def make_signer(name: str = "Jane", organization: str = "Acme News") -> Signer:
    """A new root and a certificate for signing claims issued by it, as the certificate profile of C2PA demands."""
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, leaf_name = _name("Test root", "Test"), _name(name, organization)
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _unsigned(root_name, root_name, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _unsigned(leaf_name, root_name, leaf_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    root_pem, leaf_pem = (certificate.public_bytes(serialization.Encoding.PEM) for certificate in (root, leaf))
    key = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Signer(leaf_pem + root_pem, key, root_pem)


def manifest(*actions: dict[str, Any], tool: str = "Test Studio", version: str = "1.2") -> dict[str, Any]:
    """A manifest definition with these actions."""
    assertion = {"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}
    return {"claim_generator_info": [{"name": tool, "version": version}], "assertions": [assertion]}


def sign(
    content: bytes, mime_type: str, definition: dict[str, Any], signer: Signer, *, remote_url: str | None = None
) -> bytes:
    """The file with credentials in it or, with `remote_url`, with nothing but that reference to them."""
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, signer.chain, signer.key, None)
    settings = {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"remote_manifest_fetch": False, "verify_after_sign": False},
    }
    builder = c2pa.Builder(definition, context=c2pa.Context.from_dict(settings))
    if remote_url is not None:
        builder.set_remote_url(remote_url)
        builder.set_no_embed()
    signed = io.BytesIO()
    builder.sign(c2pa.Signer.from_info(info), mime_type, io.BytesIO(content), signed)
    return signed.getvalue()


def _name(common_name: str, organization: str) -> x509.Name:
    attributes = {NameOID.ORGANIZATION_NAME: organization, NameOID.COMMON_NAME: common_name}
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes.items()])


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(days=1),
        now + timedelta(days=9),
    )


def _key_usage(*usages: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in usages for usage in _KEY_USAGES})
