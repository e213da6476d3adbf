# SPDX-License-Identifier: Apache-2.0
"""
Face-mesh landmarks of cached face crops: python crop_meshes.py WORK

Reads the crops of `WORK/crops`, and writes `WORK/meshes/NAME.npy` (T, P, 2) float32 for each of them, in pixels of the
crop, NaN where no face was found, and `WORK/meshes/regions.json`. Needs mediapipe, as `mesh.py` does.
"""

import sys
from pathlib import Path

import numpy as np
from mesh import MESH, begin
from safetensors.numpy import load_file


def main() -> None:
    work = Path(sys.argv[1])
    output = work / "meshes"
    indices = begin(output)
    with MESH.FaceMesh(static_image_mode=True, max_num_faces=1, min_detection_confidence=0.3) as finder:
        for path in sorted((work / "crops").rglob("*.safetensors")):
            meshes = []
            for frame in load_file(path)["frames"]:
                faces = finder.process(frame).multi_face_landmarks
                points = [(faces[0].landmark[i].x, faces[0].landmark[i].y) for i in indices] if faces else np.nan
                meshes.append(np.broadcast_to(np.array(points, np.float32), (len(indices), 2)) * frame.shape[0])
            np.save(output / f"{path.stem}.npy", np.stack(meshes))


if __name__ == "__main__":
    main()
