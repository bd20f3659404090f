"""A loopback S3 server (moto's) in a process of its own, which ends with who started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SERVE = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until the test ends, however it ends
server.stop()
"""
BUCKET = "runs"
KEY, SECRET = "AKIALOOPBACKKEY00001", "loopback/secret+never/written/anywhere"


@dataclass(frozen=True)
class S3Server:
    """What a client needs in its environment, and a client to look with."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """Return what s3fs takes from the environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """Return boto3's own client: what it sees is not what ours believes."""
        import boto3

        place = f"http://127.0.0.1:{self.port}"
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=place, **keys)

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Return every object below a prefix, by name behind it."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        keys = [about["Key"] for page in pages for about in page.get("Contents", [])]
        return {
            key.removeprefix(f"{prefix}/"): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys
        }


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve an empty bucket."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": "100"},  # so that listings have several pages
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        while not (line := process.stdout.readline()).strip().isdecimal():
            assert line, "the server did not start"
        server = S3Server(int(line))
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
