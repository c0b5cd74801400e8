"""Files of a server that are of no use: refused before anything is trained, by one sentence that names the file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.certificates import MISSING, certificate

from harness.errors import InputError
from harness.serving.spec import ServeSpec
from harness.serving.start import refuse_files


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_certificate_and_a_key_that_secure_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (made, key), (_, other) = certificate(tmp_path), certificate(tmp_path / "other")
    encrypted = tmp_path / "encrypted.pem"
    subprocess.run(
        ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(key), "-out", str(encrypted)],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    refuse_files(ServeSpec("x", tls_cert=str(made), tls_key=str(key)))
    for files, message in (
        ((made, encrypted), "encrypted.pem is encrypted"),
        ((made, tmp_path / "gone"), "gone: No such file"),
        ((tmp_path, key), f"{tmp_path}: Is a directory"),
        ((made, other), f"cert.pem with {other}: "),
        ((key, key), "key.pem with "),
    ):
        with pytest.raises(InputError) as refused:
            refuse_files(ServeSpec("x", tls_cert=str(files[0]), tls_key=str(files[1])))
        assert message in refused.value.message
        assert refused.value.remedy
