# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video completion`: a script that completes the commands and options in a shell."""

import argparse

from .errors import UsageError
from .exit_codes import OK


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
    """Run `deepfake-video completion`. `arguments.build_parser` builds the parser of all commands."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        hint = 'pip install "deepfake-video[completion]"'
        raise UsageError(f"shell completion needs shtab; install it with: {hint}") from error
    print(shtab.complete(arguments.build_parser(), arguments.shell))
    return OK
