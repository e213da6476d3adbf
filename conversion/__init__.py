# SPDX-License-Identifier: Apache-2.0
"""
From a legacy checkpoint to a folder for the Hugging Face Hub.

The way of a file: `loading` reads it safely, `unwrapping` finds the state dict in it, `recognition` finds its
layout in keys and shapes, `choices` settles what weights cannot tell (`published` knows what published programs
do), `key_maps` renames and folds the tensors, `parity` compares the written folder with the network of the read
file (`legacy_forward`), `model_card` writes it down, `converting` runs these in order. `hub` publishes a folder,
`onnx_export` exports one, `packaged` copies the one that comes with the package.
"""
