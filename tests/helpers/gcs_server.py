# SPDX-License-Identifier: Apache-2.0
"""A server of Google Cloud Storage's protocol on this machine, with an empty bucket called `bucket`."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def gcs_server() -> Iterator[dict[str, str]]:
    """Run the server of gcp-storage-emulator, and yield the environment variables by which gcsfs reaches it."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket"):
        # Otherwise gcsfs asks a second service, which the server does not have, for the type of the bucket.
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
