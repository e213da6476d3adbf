# SPDX-License-Identifier: Apache-2.0
"""
Score many videos: find and score faces, and report which videos could not be scored, and why.

`scanner.scan` takes a `plan.ScanPlan` with its `settings` and returns one of the `results` for each video; `command`
is its command line. Read `scanner`, `batch` and `detector` first. The other modules belong to five subjects:

1. inputs: `inputs` expands folders, patterns, addresses and lists (`listing`, `store_listing`). `media` opens a file
   by its content, photos too (`photo_formats`, `photo_reader`). `sample` makes a video to try.
2. scoring: `detector` scores one video. `clip_reading` reads its clips (public form: `clips`), `different_frames`
   recognises a still picture, a `scoring_model` computes the logits, `framewise` lists the frames, `ensemble` combines
   models, `timeline` scores windows, and `verdict` decides by the `verdict_bands`. `not_judged` lists the ranges
   without a score, and `provenance` (`provenance_process`) reads the Content Credentials. `batch` scores many videos,
   here, in `workers`, for a GPU (`device_batch`; both on `supervision`) or on a `cluster`. `memory` returns free
   memory before the networks run.
3. engines: `engines` loads the models that `locating` finds: in torch (`models`, `inference`), or in onnxruntime
   (`onnx_model`, `preprocessing`) from `graphs`, which `graph_export` writes and `graph_cache` keeps.
4. run store: `store` keeps the results of a run, in a folder or at an address (`addresses`). `fingerprint` describes
   the scoring setup; `file_stamps` recognises unchanged files.
5. report: `illustrating` draws the `evidence` (`stills`, `jpeg`), and `outputs` writes the files: `html_report`,
   `heatmaps`, `csv_table`, `annotate`. `display` prints tables, and `explain_command` the sentences of `explanation`.
   They share the `stretches` of a timeline, `naming` and `texts`.
"""
