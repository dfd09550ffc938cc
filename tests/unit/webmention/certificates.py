"""A certificate of one's own for one name, and the authority that vouches for it."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def tls_for(name: str, folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server called `name` needs, and the file of the roots that trust it. Needs the `openssl` program."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ],
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, certificate
