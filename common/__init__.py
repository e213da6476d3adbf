# SPDX-License-Identifier: Apache-2.0
"""What every room stands on: files, processes, text, exit codes, interrupts."""
