# SPDX-License-Identifier: Apache-2.0
"""
Evaluation: benchmarks in their original layout, metrics with intervals, corruptions and calibration.

`evaluator.evaluate` takes data sets and a `plan.EvaluationPlan` through these steps; `command` is its command line:

1. data: `parts` chooses the videos of each data set. `datasets` detects its layout (`faceforensics`, `celeb_df`,
   `dfdc`, `deepfakebench`, `folders`) and reads it as `samples`.
2. scores: `runner` scores the samples and reports its `progress`. `sample_reading` reads each one, also with
   `corruptions` (`encoding`); `frame_scorer` scores it as `predict` does, and knows the `known_videos` of the model.
   `scores` are stored as one JSON line per video, and `run_folder` decides which lines of an earlier run are valid.
3. calibration, if it is requested: `calibration` fits temperature and bias on held-out people.
4. tables: `metric_rows` groups the scores and measures each group (`metrics`, `intervals`); `warnings` says what
   limits the numbers.
5. result: an `evaluation_result` prints its tables (`metric_tables`) and writes its files (`saving`, `plots`,
   `model_index`).

With stored scores, `rescoring` repeats steps 4 and 5, `recalibrating` fits a calibration, and `comparing` compares two
models or several seeds. `verdicts` calibrates the verdict bands on the `verdict_scores`, checks the model folder
(`verdict_folder`) and writes the bands into it and into its card (`verdict_card`).
"""
