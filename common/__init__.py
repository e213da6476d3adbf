# SPDX-License-Identifier: Apache-2.0
"""Modules that all other packages use: files, processes, text, exit codes, interrupts."""
