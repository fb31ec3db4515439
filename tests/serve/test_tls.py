"""TLS by two flags, with a certificate that was just made."""

import shutil
import ssl
import subprocess

import httpx
import openai
import pytest

from aiflow.errors import InputError
from aiflow.serve.config import Config
from aiflow.serve.server import Bind, listen

TALK = [{"role": "user", "content": "one two three"}]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate of 127.0.0.1, which vouches for itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    return make(folder, "one"), make(folder, "two")


def make(folder, name, *more):
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert, *(more or ["-nodes"])], check=True, capture_output=True)
    return cert, key


def test_clients_that_trust_the_certificate_are_served(serve, pair):
    (cert, key), (other, _) = pair
    with serve(tls=(cert, key)) as served:
        trusting = ssl.create_default_context(cafile=str(cert))
        with openai.OpenAI(
            base_url=served.url, api_key="x", max_retries=0, http_client=httpx.Client(verify=trusting)
        ) as client:
            whole = client.chat.completions.create(model="echo", messages=TALK)
            assert whole.choices[0].message.content == "one two three"
            pieces = client.chat.completions.create(model="echo", messages=TALK, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces) == "one two three"
        large = {"model": "echo", "messages": [{"role": "user", "content": "word " * 20_000}], "max_tokens": 1}
        assert httpx.post(f"{served.url}/chat/completions", json=large, verify=trusting).status_code == 200
        for context in (ssl.create_default_context(), ssl.create_default_context(cafile=str(other))):
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(f"{served.root}/health", verify=context)
        with pytest.raises(httpx.TransportError):  # no plain text
            httpx.get(f"{served.root.replace('https', 'http')}/health")
        assert httpx.get(f"{served.root}/health", verify=trusting).status_code == 200


def test_files_that_are_no_pair_are_refused(pair, tmp_path):
    (cert, key), (_, other) = pair
    listen(Bind(port=0, tls_cert=cert, tls_key=key)).close()
    locked = make(tmp_path, "locked", "-passout", "pass:secret")
    for one, two in ((cert, other), (key, cert), (cert, cert), locked):
        with pytest.raises(InputError, match="are no certificate with its key"):
            listen(Bind(port=0, tls_cert=one, tls_key=two))
    config = Config(topology={"nodes": {"here": "cloud"}}, agents={"a": {"node": "here", "model": "scripted:x"}})
    with pytest.raises(InputError, match="belong together"):
        Bind(tls_cert=cert).check(config)
