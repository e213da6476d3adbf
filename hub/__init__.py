# SPDX-License-Identifier: Apache-2.0
"""Model folders for the Hub: writing, registering, publishing and exporting them."""
