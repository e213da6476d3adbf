# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video serve`: parse the arguments and call [`serve`]."""

import argparse
import sys

from ..common.exit_codes import OK
from ..common.interrupts import exit_on_sigterm, unfinished, without_waiting
from ..common.packages import require_packages
from ..scanning.command import (
    add_face_arguments,
    add_model_arguments,
    add_speed_arguments,
    settings_from,
    use_threads,
)
from .plan import DEFAULT_HOST, DEFAULT_PORT, MAX_DURATION_S, MAX_UPLOAD_BYTES, MAX_WAITING, ServicePlan


EXAMPLES = """\
examples:
  deepfake-video serve
  deepfake-video serve --port 9000 --model FOLDER --allow-addresses
  curl -F file=@clip.mp4 http://127.0.0.1:8000/score
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video serve` to a parser."""
    parser.description = (
        "Serve an HTTP interface: POST a video to /score, and receive its result as JSON. Requests are not "
        "authenticated."
    )
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model_arguments(parser)
    add_face_arguments(parser)
    parser.add_argument("--timeline", action="store_true", help="also score short windows of each video")
    add_speed_arguments(parser)
    parser.add_argument(
        "--host", default=DEFAULT_HOST, metavar="NAME", help="address to listen on (default: this machine only)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        metavar="N",
        help="port to listen on; 0 for any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--max-waiting",
        type=int,
        default=MAX_WAITING,
        metavar="N",
        help="requests that may wait while one is scored; further ones are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--max-bytes",
        type=int,
        default=MAX_UPLOAD_BYTES,
        metavar="N",
        help="maximum size of a request or download (default: %(default)s)",
    )
    parser.add_argument(
        "--max-duration",
        type=float,
        default=MAX_DURATION_S,
        metavar="S",
        help="maximum length of a video in seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--allow-addresses",
        action="store_true",
        help="let clients send http(s) addresses, which this machine downloads; private ones are refused",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video serve` until it is interrupted or terminated."""
    require_packages("The service", "fastapi", "fastapi_offline", "uvicorn", "python_multipart", extra="serve")
    limits = use_threads(arguments.threads, decode_device=arguments.decode_device)
    exit_on_sigterm()
    with unfinished(), without_waiting():
        from .service import serve

        plan = ServicePlan(
            models=arguments.model,
            device=arguments.device,
            settings=settings_from(arguments, limits, timeline=arguments.timeline),
            host=arguments.host,
            port=arguments.port,
            max_waiting=arguments.max_waiting,
            max_bytes=arguments.max_bytes,
            max_duration_s=arguments.max_duration,
            allow_addresses=arguments.allow_addresses,
        )
        serve(plan, on_start=_say_address)
    return OK


def _say_address(address: str) -> None:
    print(f"listening on {address}; its interface is described at {address}/docs", file=sys.stderr, flush=True)
