# SPDX-License-Identifier: Apache-2.0
"""
The script that reads one file with the C2PA library; [`read_provenance`] runs it in a separate process.

The library is native code that reads untrusted files. In its own process it can neither end a scan by aborting, nor
use more memory than its limit, nor run longer than its time limit. This file is run as a script and therefore imports
nothing from the package. The video is the standard input; the answer is one JSON object on the standard output.
"""

import importlib
import json
import sys
from typing import Any


MAX_TEXT = 200
MAX_ITEMS = 50
_MAX_MEMORY_BYTES = 2 << 30
_WHOLE = "trainedAlgorithmicMedia"
_PARTS = (_WHOLE, "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")
# No network: neither manifests stored elsewhere, nor certificate status, nor identities that are resolved by address.
_SETTINGS: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
    "core": {"decode_identity_assertions": False, "allowed_network_hosts": []},
}


def describe(store: dict[str, Any]) -> dict[str, Any]:
    """
    Extract the reported facts from the manifest store returned by the C2PA library.

    Args:
        store: The parsed JSON of `c2pa.Reader.json()`.

    Returns:
        A dictionary with the keys `validation_state`, `signer`, `tool`, `actions`, `ai_generation`, `signed_at` and
        `validation_codes`. Strings are truncated to `MAX_TEXT` characters, lists to `MAX_ITEMS` items.
    """
    manifests = store.get("manifests") or {}
    active = manifests.get(store.get("active_manifest")) or {}
    signature = active.get("signature_info") or {}
    names = [signature.get("common_name"), signature.get("issuer")]
    generators = active.get("claim_generator_info") or [{"name": active.get("claim_generator")}]
    return {
        "validation_state": store.get("validation_state"),
        "signer": _joined(names, ", "),
        "tool": _joined([generators[0].get("name"), generators[0].get("version")], " "),
        "actions": _distinct(action.get("action") for action in _actions(active)),
        "ai_generation": _ai_generation(manifests, store.get("active_manifest")),
        "signed_at": _text(signature.get("time")),
        "validation_codes": _distinct(status.get("code") for status in store.get("validation_status") or []),
    }


def _ai_generation(manifests: dict[str, Any], label: str | None) -> str | None:
    """What the manifest and those of its ingredients declare: "whole", "part" or None."""
    declares_part = False
    # The parent is the same video before an edit; any other ingredient is only a part of it.
    pending, seen = [(label, True)], set()
    while pending:
        label, is_whole = pending.pop()
        if (label, is_whole) in seen or label not in manifests:
            continue
        seen.add((label, is_whole))
        manifest = manifests[label]
        for action in _actions(manifest):
            source = str(action.get("digitalSourceType")).rpartition("/")[2]
            if source == _WHOLE and is_whole and action.get("action") == "c2pa.created":
                return "whole"
            declares_part |= source in _PARTS
        for ingredient in manifest.get("ingredients") or []:
            is_parent = ingredient.get("relationship") == "parentOf"
            pending.append((ingredient.get("active_manifest"), is_whole and is_parent))
    return "part" if declares_part else None


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    assertions = manifest.get("assertions") or []
    lists = [entry["data"]["actions"] for entry in assertions if str(entry["label"]).startswith("c2pa.actions")]
    return [action for actions in lists for action in actions]


def _text(value: object) -> str | None:
    return str(value)[:MAX_TEXT] if value else None


def _joined(values: list[object], separator: str) -> str | None:
    return separator.join(_distinct(values)) or None


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(text for value in values if (text := _text(value))))[:MAX_ITEMS]


def _limit_memory() -> None:
    try:
        resource: Any = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    except (ImportError, OSError, ValueError):
        pass  # Windows has no such limit, macOS not for every kind of memory.


def _answer(library_folder: str, anchors: str) -> dict[str, Any]:
    sys.path.append(library_folder)
    try:
        c2pa: Any = importlib.import_module("c2pa")
    except (ImportError, OSError) as error:
        return {"problem": "library", "detail": _text(error)}
    settings = dict(_SETTINGS)
    if anchors:
        with open(anchors, encoding="ascii") as file:
            settings["trust"] = {"trust_anchors": file.read()}
    try:
        context = c2pa.Context.from_dict(settings)
    except c2pa.C2paError as error:
        return {"problem": "anchors" if anchors else "library", "detail": _text(error)}
    with open(0, "rb", closefd=False) as video:
        try:
            return describe(json.loads(c2pa.Reader(None, video, context=context).json()))
        except c2pa.C2paError.ManifestNotFound:
            return {"problem": "absent"}
        except c2pa.C2paError.NotSupported:
            return {"problem": "format"}
        except c2pa.C2paError as error:
            problem = "remote" if "must fetch remote manifest" in str(error) else "unreadable"
            return {"problem": problem, "detail": _text(error)}


if __name__ == "__main__":
    _limit_memory()
    print(json.dumps(_answer(*sys.argv[1:])))
