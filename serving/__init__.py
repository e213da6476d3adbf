# SPDX-License-Identifier: Apache-2.0
"""Score videos that other people send: what the demo and the HTTP service have in common, and the service itself."""
