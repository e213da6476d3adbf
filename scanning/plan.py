# SPDX-License-Identifier: Apache-2.0
"""The public interface of a scan: its plan, its listener and its result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from ..common.errors import UsageError
from ..common.files import as_paths
from ..common.plans import check_fields
from .inputs import Inputs
from .results import VideoResult
from .settings import ScanSettings


MAX_WORKERS, MAX_CLUSTER_WORKERS = 256, 100_000


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """
    Everything that a scan needs to know: what to score, with which models, and which files to write.

    Args:
        sources: Files, folders, patterns such as `"videos/*.mp4"`, http(s) URLs, or addresses in a store such as
            `"s3://bucket/videos/"`.
        lists: Text files with one source per line, or CSV files with a column of paths.
        photos: Whether photos in folders are scored too. Photos that are named or match a pattern always are.
        models: Model folders or Hub ids; several form an ensemble. `"default"`, or none, is the packaged checkpoint.
        device: `"cpu"`, `"cuda"`, `"mps"`, or `"auto"` for the fastest one available.
        settings: How each video is scored.
        workers: Number of worker processes. On a CPU, each loads the models. On a GPU, they read the videos, which
            one process scores; with a timeline, each loads the models there too. The default is 1 (this
            process itself) on a CPU and on a GPU with a timeline; otherwise one per core, on a GPU at most 16. Each
            worker imports the calling script again, which must therefore call `scan` below
            `if __name__ == "__main__":`.
        ray: Address of a Ray cluster that scores the videos, or `"local"` for one on this machine. `output` is then
            required, as a folder or address that all its machines can reach.
        gpus_per_worker: Share of a GPU that each worker on a cluster reserves, such as 0.25; 0 for none.
        output: Folder or address in which every result is stored as soon as it is available. A scan with the same
            plan resumes from it.
        report: HTML file or address with the results, the timelines and the pictures.
        csv: CSV file or address with one row per video.
        heatmaps: Folder for Grad-CAM pictures (PNG) of the frames with the highest fake probability.
        annotate: MP4 file, a copy of the video with face boxes and scores drawn into it; requires a single video.

    `report`, `heatmaps` and `annotate` show where a video looks manipulated only if `settings.timeline` is set.

    Raises:
        UsageError: If a value is invalid, or if two of them exclude each other.

    Example:

        >>> from deepfake_video import ScanPlan
        >>> plan = ScanPlan(sources=["videos/"], workers=2, output="run1")
        >>> plan.settings.face_aggregation
        'max'
    """

    sources: Sequence[str | Path] = ()
    lists: Sequence[str | Path] = ()
    photos: bool = False
    models: Sequence[str | Path] = ()
    device: str = "auto"
    settings: ScanSettings = field(default_factory=ScanSettings)
    workers: int | None = None
    ray: str | None = None
    gpus_per_worker: float = 0.0
    output: str | Path | None = None
    report: str | Path | None = None
    csv: str | Path | None = None
    heatmaps: str | Path | None = None
    annotate: str | Path | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("output", "report", "csv", "heatmaps", "annotate"):
            # As a path, it would be the current folder.
            if getattr(self, name) == "":
                raise UsageError(f"{name} is empty; name a place, or leave it out.")
        most = MAX_WORKERS if self.ray is None else MAX_CLUSTER_WORKERS
        if self.workers is not None and not 1 <= self.workers <= most:
            raise UsageError(f"the number of workers must lie between 1 and {most}, got {self.workers}.")
        if self.ray is not None:
            self._check_cluster()
        elif self.gpus_per_worker:
            raise UsageError("--gpus-per-worker needs --ray.")
        if self.annotate is not None and self.output is not None:
            raise UsageError("--annotate requires a single video and cannot be combined with --output.")

    def _check_cluster(self) -> None:
        if self.output is None:
            raise UsageError("--ray needs --output, a folder or address that all machines of the cluster can reach.")
        if self.report is not None or self.heatmaps is not None:
            raise UsageError("--ray gives no pictures: leave out --report and --heatmaps.")
        if not 0 <= self.gpus_per_worker <= 8:
            raise UsageError(f"the GPUs per worker must lie between 0 and 8, got {self.gpus_per_worker:g}.")

    @property
    def model_names(self) -> list[str]:
        """The models as strings."""
        return as_paths("models", self.models)

    @property
    def needs_pictures(self) -> bool:
        """Whether thumbnails and heat maps are computed, for the report or the folder of heat maps."""
        return self.report is not None or self.heatmaps is not None


@dataclass(frozen=True)
class ScanResult(Sequence[VideoResult]):
    """
    The results of a scan as a sequence, in the order of the sources.

    Args:
        results: One result per video, whether it could be scored or not.
        num_videos: Number of videos found in the sources. It is larger than `len(results)` if the scan was
            interrupted.
        num_skipped: Number of files in the source folders that were skipped, because they are not videos or because
            they are photos and `photos` is not set.
        kept: Paths of the results that an earlier run stored in the output folder.

    Example:

        >>> from deepfake_video.scanning.plan import ScanResult
        >>> result = ScanResult(results=(), num_videos=0, num_skipped=3)
        >>> len(result), result.num_scored, result.failed
        (0, 0, [])
    """

    results: tuple[VideoResult, ...]
    num_videos: int
    num_skipped: int = 0
    kept: frozenset[str] = frozenset()

    @property
    def failed(self) -> list[VideoResult]:
        """The results without a score. Their `status` and `message` give the reason."""
        return [result for result in self.results if result.status != "ok"]

    @property
    def num_scored(self) -> int:
        """Number of videos with a score."""
        return len(self.results) - len(self.failed)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[VideoResult]:
        return iter(self.results)

    @overload
    def __getitem__(self, index: int) -> VideoResult: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[VideoResult, ...]: ...

    def __getitem__(self, index: int | slice) -> VideoResult | tuple[VideoResult, ...]:
        return self.results[index]


class ScanListener:
    """
    Follows a scan while it runs. Subclass it and override what is of interest; every method does nothing by default.

    If several processes scan together, only the listener of the first one is called.

    Example:

        >>> from deepfake_video.scanning.plan import ScanListener
        >>> class Printer(ScanListener):
        ...     def video_done(self, result):
        ...         print(result.path, result.label)
    """

    def started(self, inputs: Inputs, num_videos: int) -> None:
        """
        Called once, before the first video.

        Args:
            inputs: The videos found in the sources, and notes about skipped files and folders.
            num_videos: Number of videos that this process will report to [`video_done`].
        """

    def timeline_at(self, second: float) -> None:
        """
        Called while the timeline of the current video is computed. Not called with several workers.

        Args:
            second: Position in the video, in seconds.
        """

    def video_done(self, result: VideoResult) -> None:
        """
        Called after each video, in the order in which they are finished.

        Args:
            result: The result of the video.
        """

    def video_kept(self, result: VideoResult) -> None:
        """
        Called instead of [`video_done`] for a result that an earlier run stored. Calls it by default.

        Args:
            result: The result of the video.
        """
        self.video_done(result)

    def finished(self, result: ScanResult) -> None:
        """
        Called once at the end, after the files are written, and also if an interrupt or an error ends the scan early.

        Args:
            result: All results so far, in the order of the sources.
        """
