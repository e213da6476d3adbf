# SPDX-License-Identifier: Apache-2.0
"""
Train EfficientNet-Lite2 on one GPU with pairs made on the device, while the CPU cores re-encode whole videos.

    python train_gpu.py DATA SECONDS OUTPUT NETS.json

DATA holds the files that the README lists. NETS is a list of networks that are trained side by side:
{"name", "init", "lr", "share" of the steps, "seed", "mix" of kinds of pairs, "teacher": weight of the scores of
`teacher.safetensors`}.
"""

import copy
import itertools
import json
import math
import multiprocessing as mp
import os
import queue
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import media
import numpy as np
import timm
import torch
import torchvision
from copy_workers import SHM, work
from on_device import MeshRegions, PairMaker
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch import nn


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZE, FACE_SHARE, PAIRS = 224, 1.15 / media.CROP_MARGIN, int(os.environ.get("PAIRS", 128))
CAPACITY = {"sb": 30_000, "re": 24_000}
TEACHER_SIZE, TEACHER_TEMPERATURE = 128, 2.0
# From this share of the time on, batch normalisation keeps its statistics: a network that sees batches of pairs learns
# to compare the pictures of a batch.
FREEZE_AT = 0.6


class Copies:
    """A ring of pairs of crops in device memory."""

    def __init__(self, capacity: int, device: str) -> None:
        shape = (capacity, media.CROP_SIZE, media.CROP_SIZE, 3)
        self.real, self.fake = (torch.empty(shape, dtype=torch.uint8, device=device) for _ in range(2))
        self.size = self.next = self.total = 0

    def add(self, real: np.ndarray, fake: np.ndarray) -> None:
        at = (self.next + torch.arange(len(real))) % len(self.real)
        for ring, crops in ((self.real, real), (self.fake, fake)):
            ring[at.to(ring.device)] = torch.from_numpy(crops).to(ring.device)
        self.next = (self.next + len(real)) % len(self.real)
        self.size = min(self.size + len(real), len(self.real))
        self.total += len(real)


class Originals:
    """Crops of every video and image in device memory, and which of them are pairs."""

    def __init__(self) -> None:
        self.crops, self.meshes, self.info, self.at = [], [], [], []

    def add(self, entry: dict, crops: np.ndarray, meshes: np.ndarray, at: np.ndarray) -> None:
        self.info.append((entry, sum(map(len, self.crops)), len(crops)))
        self.crops.append(crops)
        self.meshes.append(meshes)
        self.at.append(at)

    def finish(self, device: str) -> None:
        self.real_rows = defaultdict(list)
        place = {}
        for (entry, start, count), at in zip(self.info, self.at, strict=True):
            place[entry["video"]] = (start, at)
            if not entry["fake"]:
                self.real_rows[entry["dataset"]].append(np.arange(start, start + count))
        self.pairs = defaultdict(list)
        for (entry, start, _), at in zip(self.info, self.at, strict=True):
            if entry["fake"] and entry["original"] in place:
                other, their = place[entry["original"]]
                nearest = np.abs(their[None] - at[:, None]).argmin(1)
                rows = np.stack([other + nearest, start + np.arange(len(at))], 1)
                self.pairs[entry["method"]].append(rows)
        self.crops = torch.from_numpy(np.concatenate(self.crops)).to(device)
        self.meshes = torch.from_numpy(np.concatenate(self.meshes)).to(device)
        shape = self.meshes - self.meshes.mean(1, keepdim=True)
        self.shape = (shape / shape.std((1, 2), keepdim=True)).flatten(1)

    def draw_real(self, random: np.random.Generator, count: int) -> np.ndarray:
        names = sorted(self.real_rows)
        rows = []
        for name in random.choice(names, count, p=[REAL_SHARES[name] for name in names]):
            video = self.real_rows[name][random.integers(len(self.real_rows[name]))]
            rows.append(video[random.integers(len(video))])
        return np.array(rows)

    def draw_pairs(self, random: np.random.Generator, count: int) -> np.ndarray:
        names = sorted(self.pairs)
        rows = []
        for name in random.choice(names, count):
            video = self.pairs[name][random.integers(len(self.pairs[name]))]
            rows.append(video[random.integers(len(video))])
        return np.array(rows)

    def neighbours(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """For each crop the one of another video whose mesh has the most similar shape, among some drawn ones."""
        candidates = np.stack([self.draw_real(random, len(rows)) for _ in range(24)], 1)
        own = self.shape[torch.from_numpy(rows).to(self.shape.device)][:, None]
        theirs = self.shape[torch.from_numpy(candidates).to(self.shape.device)]
        distance = (own - theirs).square().mean(-1)
        same = torch.from_numpy(np.abs(candidates - rows[:, None]) < 60).to(distance.device)
        best = distance.masked_fill(same, torch.inf).argmin(1).cpu().numpy()
        return candidates[np.arange(len(rows)), best]


REAL_SHARES = {"FaceForensics++": 0.3, "portraits": 0.4, "utkface": 0.3}


def make_batch(
    originals: Originals,
    copies: dict[str, Copies],
    maker: PairMaker,
    mix: dict[str, float],
    random: np.random.Generator,
) -> torch.Tensor:
    """Images `(2 * PAIRS, 3, SIZE, SIZE)` in [0, 255]: the real halves first."""
    ready = {kind: share for kind, share in mix.items() if kind not in copies or copies[kind].size > 500}
    shares = np.array(list(ready.values()))
    counts = dict(zip(ready, random.multinomial(PAIRS, shares / shares.sum()), strict=True))
    device = originals.crops.device

    def rows(index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(index)).to(device)

    reals, fakes, mild = [], [], []
    if n := counts.get("self", 0) + counts.get("cross", 0):
        drawn = originals.draw_real(random, n)
        at = rows(drawn)
        maps = maker.draw_framings(n)
        views, meshes = maker.frame(originals.crops[at], originals.meshes[at], maps)
        blended = maker.self_blend(views, meshes)
        if k := counts.get("cross", 0):
            near = rows(originals.neighbours(drawn[:k], random))
            others, their_meshes = maker.frame(originals.crops[near], originals.meshes[near], maker.draw_framings(k))
            blended[:k] = maker.cross_blend(views[:k], meshes[:k], others, their_meshes)
        reals.append(views)
        fakes.append(blended)
        mild.append(torch.zeros(n, dtype=torch.bool, device=device))
    crops = []
    if n := counts.get("man", 0):
        index = originals.draw_pairs(random, n)
        crops.append((originals.crops[rows(index[:, 0])], originals.crops[rows(index[:, 1])], False))
    for kind, ring in copies.items():
        if n := counts.get(kind, 0):
            at = rows(random.integers(ring.size, size=n))
            crops.append((ring.real[at], ring.fake[at], True))
    for first, second, is_mild in crops:
        maps = maker.draw_framings(len(first))
        none = originals.meshes.new_zeros(len(first), 1, 2)
        reals.append(maker.frame(first, none, maps)[0])
        fakes.append(maker.frame(second, none, maps)[0])
        mild.append(torch.full((len(first),), is_mild, device=device))
    real, fake, mild = torch.cat(reals), torch.cat(fakes), torch.cat(mild)
    images = torch.cat([real, fake]).round().clamp(0, 255)
    # A copy has been through a codec already: most stay as they are.
    altered = ~mild | maker.chance(0.25, PAIRS)
    chosen = torch.cat([altered, altered]).nonzero()[:, 0]
    alone = maker.chance(0.5, PAIRS).long()
    groups = torch.cat([torch.arange(PAIRS, device=device), torch.arange(PAIRS, device=device) + PAIRS * alone])
    images[chosen] = maker.degrade(images[chosen], groups[chosen])
    return images


class Ahead:
    """Makes the next batch in a thread and a CUDA stream of its own while the present one is learnt."""

    def __init__(self, make: Callable[[int], torch.Tensor], first: int) -> None:
        self.make, self.pool = make, ThreadPoolExecutor(1)
        self.stream = torch.cuda.Stream() if DEVICE == "cuda" else None
        self.seconds = 0.0
        self.next: Future = self.pool.submit(self.run, first)

    def run(self, turn: int) -> torch.Tensor:
        began = time.time()
        with torch.cuda.stream(self.stream):
            images = self.make(turn)
            if self.stream is not None:
                self.stream.synchronize()
        self.seconds += time.time() - began
        return images

    def take(self, following: int) -> torch.Tensor:
        images = self.next.result()
        if DEVICE == "cuda":
            images.record_stream(torch.cuda.current_stream())
        self.next = self.pool.submit(self.run, following)
        return images


class Trainee:
    """A network, its optimiser and the moving average of its weights."""

    def __init__(self, settings: dict, data: Path, teacher: nn.Module | None) -> None:
        torch.manual_seed(settings.get("seed", 0))
        self.name, self.settings = settings["name"], settings
        self.weight = settings.get("teacher", 0.0)
        self.teacher = teacher
        self.net = timm.create_model("tf_efficientnet_lite2", num_classes=2, drop_rate=0.3, drop_path_rate=0.2)
        nn.init.normal_(self.net.classifier.weight, std=0.01)
        state = {key: value.float() for key, value in load_file(data / settings["init"]).items()}
        state = {key: value for key, value in state.items() if not key.startswith("classifier")}
        print(self.name, self.net.load_state_dict(state, strict=False), flush=True)
        self.net = self.net.to(DEVICE, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.net).eval()
        weights = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [{"params": weights, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings["lr"], fused=True)
        self.random = np.random.default_rng(settings.get("seed", 0))
        self.step, self.losses = 0, []

    def learn(self, images: torch.Tensor, share: float) -> None:
        rate = self.settings["lr"] * min(1.0, (self.step + 1) / 150) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        labels = torch.arange(2, device=DEVICE).repeat_interleave(PAIRS)
        self.net.train()
        if share > FREEZE_AT:
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        pixels = normalise(images)
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = self.net(pixels)
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.02)
        if self.weight:
            loss = loss + self.weight * self.distance(logits.float(), pixels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self.losses.append(loss.detach())
        decay = min(0.998, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - decay)
            for mean, value in zip(self.average.buffers(), self.net.buffers(), strict=True):
                if value.is_floating_point():
                    mean.lerp_(value, 1 - decay)

    def distance(self, logits: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Cross entropy with the softened scores of the teacher."""
        side = (TEACHER_SIZE, TEACHER_SIZE)
        with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
            small = nn.functional.interpolate(pixels, side, mode="bilinear", antialias=True)
            theirs = self.teacher(small.contiguous(memory_format=torch.channels_last)).float()
        soft = torch.sigmoid((theirs[:, 1] - theirs[:, 0]) / TEACHER_TEMPERATURE)
        margin = (logits[:, 1] - logits[:, 0]) / TEACHER_TEMPERATURE
        return nn.functional.binary_cross_entropy_with_logits(margin, soft) * TEACHER_TEMPERATURE

    def save(self, path: Path) -> None:
        state = {
            key: (value.half() if value.is_floating_point() else value).contiguous().cpu()
            for key, value in self.average.state_dict().items()
        }
        save_file(state, path)


def load_teacher(file: Path) -> nn.Module:
    """EfficientNet-B0 with the weights of a model folder with the preset `efficientnet-b0-frames`."""
    net = torchvision.models.efficientnet_b0(num_classes=2)
    names = {"deepfake.frame_encoder.backbone.": "", "classifier.out_proj.": "classifier.1."}
    state = {}
    for key, value in load_file(file).items():
        before = next(before for before in names if key.startswith(before))
        state[names[before] + key.removeprefix(before)] = value
    net.load_state_dict(state)
    return net.eval().to(DEVICE, memory_format=torch.channels_last)


def normalise(images: torch.Tensor) -> torch.Tensor:
    mean = images.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
    std = images.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


class Judge:
    """AUC by data set on validation views, the mean of the frame logits for each video."""

    def __init__(self, file: Path) -> None:
        stored = np.load(file)
        blob, off = stored["blob"], stored["off"]
        pictures = [cv2.imdecode(blob[a:b], cv2.IMREAD_COLOR)[..., ::-1] for a, b in itertools.pairwise(off)]
        self.images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        self.names = [tuple(item) for item in zip(stored["set"], stored["key"], stored["fake"], strict=True)]

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> dict:
        margins = []
        for part in self.images.split(256):
            with torch.autocast(DEVICE, torch.bfloat16):
                logits = net(normalise(part.to(DEVICE).float())).float()
            margins.append(logits[:, 1] - logits[:, 0])
        by_video = defaultdict(list)
        for name, margin in zip(self.names, torch.cat(margins).tolist(), strict=True):
            by_video[name].append(margin)
        table = defaultdict(list)
        for (dataset, _, fake), values in by_video.items():
            table["dfdc+grid" if dataset in ("dfdc", "grid") else str(dataset)].append((int(fake), np.mean(values)))
        report = {}
        for dataset, items in sorted(table.items()):
            labels, scores = zip(*items, strict=True)
            report[dataset] = round(float(roc_auc_score(labels, scores)), 3)
            real = [score for label, score in items if not label]
            report[f"real {dataset}"] = [round(float(q), 2) for q in np.quantile(real, [0.5, 0.9])]
        return report


def main() -> None:
    data, seconds, output, nets = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
    began = time.time()
    SHM.mkdir(exist_ok=True)
    ranges = {name: tuple(range(*span)) for name, span in json.loads((data / "regions.json").read_text()).items()}
    oval = len(ranges["oval"])
    eyes, brows = ranges["leye"] + ranges["reye"], ranges["lbrow"] + ranges["rbrow"]
    regions = MeshRegions(oval=ranges["oval"], eyes=eyes, brows=brows, lips=ranges["lips"], nose=ranges["nose"])
    groups = json.loads((data / "groups.json").read_text())
    for group in groups:
        for entry in group:
            for key in ("video", "mesh", "original"):
                entry[key] = entry[key] and str(data / entry[key])
    cores = int(os.environ.get("CORES", max(1, len(os.sched_getaffinity(0)) - 1)))
    context = mp.get_context("fork")
    out, stop, room = context.Queue(), context.Event(), context.Semaphore(120)
    workers = [
        context.Process(target=work, args=(n, groups[n::cores], oval, out, stop, room), daemon=True)
        for n in range(cores)
    ]
    for worker in workers:
        worker.start()
    originals = Originals()
    images = np.load(data / "utk.npz")
    for name, mesh in zip(images["names"], images["points"].astype(np.float32), strict=True):
        picture = cv2.imread(str(data / "utk" / str(name)))[..., ::-1]
        crop, points = media.crop(picture, media.boxes_of(mesh[None], oval)[0], mesh)
        entry = {"video": str(name), "fake": False, "dataset": "utkface", "original": None}
        originals.add(entry, crop[None], points[None], np.zeros(1, int))
    print("images", len(originals.info), round(time.time() - began, 1), flush=True)
    done = 0
    waiting = []
    while done < cores:
        kind, entry, name = out.get(timeout=120)
        if kind == "done":
            done += 1
        elif kind == "original":
            with np.load(name) as stored:
                originals.add(entry, stored["crops"], stored["meshes"], stored["at"])
            os.unlink(name)
        else:
            waiting.append((kind, entry, name))
    originals.finish(DEVICE)
    print("videos", len(originals.info), "crops", len(originals.crops), round(time.time() - began, 1), flush=True)
    torch.backends.cudnn.benchmark = True
    copies = {kind: Copies(capacity, DEVICE) for kind, capacity in CAPACITY.items()}
    judge = Judge(data / "val.npz")
    generator = torch.Generator(DEVICE).manual_seed(1)
    maker = PairMaker(SIZE, FACE_SHARE, regions, generator)
    teacher = None
    if any(settings.get("teacher") for settings in nets):
        teacher = load_teacher(data / "teacher.safetensors")
    trainees = [Trainee(settings, data, teacher) for settings in nets]
    log: list[dict] = []
    next_check, save_at = 75.0, [0.7, 0.85]
    picks = [trainee.settings["share"] for trainee in trainees]
    progress = [0.0] * len(trainees)

    def next_turn() -> int:
        turn = min(range(len(trainees)), key=lambda n: progress[n] / picks[n])
        progress[turn] += 1
        return turn

    def make(turn: int) -> torch.Tensor:
        for _ in range(8):
            try:
                kind, _, name = waiting.pop() if waiting else out.get_nowait()
            except queue.Empty:
                break
            with np.load(name) as stored:
                copies[kind].add(stored["real"], stored["fake"])
            os.unlink(name)
            room.release()
        return make_batch(originals, copies, maker, trainees[turn].settings["mix"], trainees[turn].random)

    start = time.time()
    turn = next_turn()
    ahead = Ahead(make, turn)
    while (elapsed := time.time() - start) < seconds:
        trainee, turn = trainees[turn], next_turn()
        trainee.learn(ahead.take(turn), elapsed / seconds)
        if (steps := sum(trainee.step for trainee in trainees)) in (50, 200, 500):
            print("step", steps, "s", round(time.time() - start, 1), "making", round(ahead.seconds, 1), flush=True)
        if elapsed > next_check:
            next_check += 75
            for trainee in trainees:
                record = {
                    "t": round(elapsed), "net": trainee.name, "step": trainee.step,
                    "loss": round(float(torch.stack(trainee.losses[-100:]).mean()), 3),
                    "copies": {kind: ring.total for kind, ring in copies.items()}, **judge(trainee.average),
                }  # fmt: skip
                log.append(record)
                print(json.dumps(record), flush=True)
        if save_at and elapsed / seconds > save_at[0]:
            share = save_at.pop(0)
            trainees[0].save(output / f"{trainees[0].name}-{round(share * 100)}.safetensors")
    spent = time.time() - start
    stop.set()
    for trainee in trainees:
        trainee.save(output / f"{trainee.name}.safetensors")
        record = {
            "net": trainee.name,
            "step": trainee.step,
            "images": trainee.step * 2 * PAIRS,
            **judge(trainee.average),
        }
        log.append(record)
        print("final", json.dumps(record), flush=True)
    soup = copy.deepcopy(trainees[0].average)
    every = [soup, *(trainee.average for trainee in trainees)]
    for mean, *values in zip(*(net.state_dict().values() for net in every), strict=True):
        if mean.is_floating_point():
            mean.copy_(torch.stack(values).mean(0))
    print("mean of the weights", json.dumps(judge(soup)), flush=True)
    rate = sum(trainee.step for trainee in trainees) * 2 * PAIRS / spent
    making = ahead.seconds / sum(trainee.step for trainee in trainees)
    log.append({"images_per_second": round(rate), "making_a_batch": making, "seconds": seconds, "nets": nets})
    (output / "log.json").write_text(json.dumps(log))
    print(json.dumps(log[-1]), round(time.time() - began, 1), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
