# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video completion`: a script that completes the commands and options in a shell."""

import argparse
import re

from .exit_codes import OK
from .packages import require_packages


SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """\
examples:
  deepfake-video completion bash > ~/.local/share/bash-completion/completions/deepfake-video
  deepfake-video completion zsh > ~/.zfunc/_deepfake-video        with fpath+=~/.zfunc before compinit in ~/.zshrc
  deepfake-video completion fish > ~/.config/fish/completions/deepfake-video.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video completion` to a parser."""
    parser.description = "Print a script that completes the commands and options of deepfake-video in a shell."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS, help="the shell that will read the script")


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video completion` and return the exit code."""
    require_packages("Shell completion", "shtab", extra="completion")
    import shtab

    parser: argparse.ArgumentParser = arguments.build_parser()
    _complete_files(parser, shtab.FILE)
    script = shtab.complete(parser, arguments.shell)
    if arguments.shell == "zsh":
        # shtab (1.13) writes arguments that may be repeated so that zsh completes only the first of them.
        script = re.sub(r'^  "\(\*\)::?', '  "*:', script, flags=re.MULTILINE)
    print(script)
    return OK


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    """Let every value that is neither a number nor one of a few words be completed with the names of files."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _complete_files(subparser, files)
        elif action.nargs != 0 and not action.choices and action.type not in (int, float):
            action.complete = files  # type: ignore[attr-defined]
