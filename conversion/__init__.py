# SPDX-License-Identifier: Apache-2.0
"""
Converts a legacy checkpoint to a model folder for the Hugging Face Hub.

`converting.convert` takes a `plan.ConversionPlan` through these steps:

1. load: `loading` reads the file safely (`containers`, `pickles`, `tensor_checks`), `unwrapping` finds the state dict.
2. recognise: `recognition` detects the `layout` from keys and shapes (`backbone_detection`, `backbones`,
   `timm_layouts`, `recurrence`, `heads`, `families`).
3. choose: `choices` settles what weights do not determine, with facts on published programs (`published`) and checks
   against contradictions (`choice_checks`); `diagnosis` describes the result. `inspection` runs the steps up to here.
4. map keys: `key_maps` renames the tensors, `folder_settings` makes configuration and processor.
5. prove parity: `parity` compares the folder with the network of the file, which `legacy_forward` runs.
6. write the card: `conversion_card`; the folder then appears at once, if `output_folder` allows it.
"""
