"""The common parts of the commands' parsers: sources of options, and errors."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

import configargparse

from geventecho.cli.standard_io import print_all, print_error
from geventecho.errors import ConfigError
from geventecho.pem import file_content

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]

__all__ = ["SOURCES", "Parser", "add_command"]

SOURCES: Final = ("command_line", "environment_variables", "config_file")
"""The sources of an option's value, by ConfigArgParse's names; an earlier source overrides a later one."""

OTHER_SOURCES: Final = """\
environment and files: --some-option VALUE can also be written
  in the environment   {prefix}SOME_OPTION=VALUE
  in a file            some-option = VALUE
                       --config FILE or {prefix}CONFIG=FILE names the file
The command line overrides the environment, and the environment overrides the file.
Arguments without dashes can be given on the command line only."""


BLANK: Final = " "
"""Replaces an empty `allow`: ConfigArgParse would ignore the option, and every client would be admitted."""


def _is_empty_allow(name: str, value: object) -> bool:
    return name.lstrip("-").lower().endswith("allow") and not str(value).strip("[]\"' ")


class ConfigFileParser(configargparse.DefaultConfigFileParser):  # type: ignore[misc]
    """A parser of config files that refuses `config`: ConfigArgParse would ignore the line silently."""

    def parse(self, stream: TextIO) -> dict[str, Any]:
        settings: dict[str, Any] = super().parse(stream)
        for key in ("config", "--config"):
            if key in settings:
                raise configargparse.ConfigFileParserException(
                    f"{stream.name}: a config file cannot name another one: {key} = {settings[key]}"
                )
        return {key: BLANK if _is_empty_allow(key, value) else value for key, value in settings.items()}


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """A parser whose errors are one line and a hint. The usage block would hide them."""

    _arguments: Sequence[str] | None = None
    _raises = False

    def error(self, message: str) -> NoReturn:
        for action in self._actions:
            if message.startswith(f"argument {'/'.join(action.option_strings)}: "):
                origin = self.origin(action.dest)[1]
                message += f" (from {origin})" if origin else ""
        if self._raises:
            raise ConfigError(message)
        print_error(f"{self.prog}: error: {message}\nTry '{self.prog} --help'.")
        raise SystemExit(2)

    def _print_message(self, message: str, _file: object = None) -> None:
        """Print --help or --version. `error` prints the errors."""
        print_all(message)

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Any = None, **options: Any
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and accept the last positional argument after an option too: ``send TARGET --timeout 1 MESSAGE``.

        argparse assigns all positional arguments when it meets the first one, and none later.
        """
        self._arguments = args
        variables = {key: BLANK if _is_empty_allow(key, value) else value for key, value in os.environ.items()}
        namespace, unknown = super().parse_known_args(args, namespace, **{"env_vars": variables, **options})
        words = unknown[1:] if unknown[:1] == ["--"] else [word for word in unknown if not word.startswith("-")]
        if len(words) == 1 and unknown in (words, ["--", *words]):
            for action in self._get_positional_actions():
                if action.nargs == argparse.OPTIONAL and getattr(namespace, action.dest) is None:
                    setattr(namespace, action.dest, words[0])
                    return namespace, []
        return namespace, unknown

    def parse_again(self) -> argparse.Namespace:
        """Parse the same arguments again. A config file may have changed.

        Raises:
            ConfigError: an option is wrong.
        """
        self._raises = True
        try:
            return self.parse_args(self._arguments)  # type: ignore[no-any-return]
        finally:
            self._raises = False

    def origin(self, name: str) -> tuple[str, str]:
        """Return the source of an option's value, one of `SOURCES`, and the variable or the file."""
        for source, settings in self.get_source_to_settings_dict().items():
            for key, (action, _) in settings.items():
                if action is not None and action.dest == name:
                    kind, _, path = str(source).partition("|")
                    return kind, path or key
        return SOURCES[0], ""


def add_command(
    commands: Commands,
    name: str,
    *,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
    epilog: str = "",
) -> Parser:
    """Add a command's parser; its options also come from the environment and from a `--config` file.

    The environment names carry the command (GEVENTECHO_SERVE_PORT): Kubernetes puts GEVENTECHO_PORT=tcp://… into every
    pod beside a service named geventecho. That variable must not be taken for an option.

    Args:
        commands: the result of `add_subparsers`.
        name: the command, such as "serve".
        summary: its line in `geventecho --help`.
        description: the beginning of its own help.
        run: takes the parsed options, `parser` among them, and returns the exit code. An AddressError or ConfigError
            that it raises is a usage error.
        epilog: examples for the end of its help.
    """
    prefix = f"GEVENTECHO_{name.upper()}_"
    variable = f"{prefix}CONFIG"
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"{epilog}\n\n{OTHER_SOURCES.format(prefix=prefix)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        auto_env_var_prefix=prefix,
        add_env_var_help=False,
        add_config_file_help=False,
        config_file_parser_class=ConfigFileParser,
        config_file_open_func=lambda path: _config_file(parser, path, variable),
        allow_abbrev=False,
    )
    # ConfigArgParse takes a file's name from the command line or the default, not from the environment.
    parser.add_argument(
        "--config", metavar="FILE", is_config_file=True, default=os.environ.get(variable) or None,
        help="read options from this file",
    )  # fmt: skip
    parser.set_defaults(run=run, parser=parser)
    return parser


def _config_file(parser: Parser, path: str, variable: str) -> io.StringIO:
    """Read a whole config file: in ConfigArgParse a failed later read ends in a traceback."""
    try:
        stream = io.StringIO(file_content(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        source = variable if path == os.path.expanduser(os.environ.get(variable, "")) else "--config"
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        parser.error(f"{source}: the file {path} cannot be read: {reason}")
    stream.name = path  # for the messages about the file's content
    return stream
