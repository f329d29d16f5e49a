"""Runs the stack's functions in containers, with the running local stack behind them."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gatehouse_cli import samconfig, yaml_text
from gatehouse_cli.errors import CommandError, OptionError
from gatehouse_cli.local import container_code, container_template, containers, engine_access
from gatehouse_cli.local.aws import Clients, clients
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.sam import Sam, host_parameters

EVENTS = "events"
ANSWERS = "events/answers"


@dataclass(frozen=True)
class ContainerRuns:
    """What was built for containers: each function's variables, and the options of `sam local`."""

    project: Path
    sam: Sam
    variables: Mapping[str, Mapping[str, str]]
    options: tuple[str, ...]

    @property
    def functions(self) -> list[str]:
        """The logical ids of all functions."""
        return list(self.variables)

    def invoke(self, function: str, event: Path, *, errors: IO[bytes] | None, output: Path) -> Any:
        """Return a function's answer to an event; `output` is a file to keep it in.

        Raises:
            CommandError: SAM failed, or its output is not an answer.

        """
        with output.open("wb") as answer:
            code = self._local(
                "invoke", function, "--event", str(event), output=answer, errors=errors
            )
        lines = output.read_text(encoding="utf-8").strip().splitlines()
        if code != 0 or not lines:
            raise CommandError(f"sam local invoke {function} failed with code {code}.")
        try:
            return json.loads(lines[-1])
        except ValueError as error:
            raise CommandError(f"{function} did not answer with JSON: {lines[-1]}") from error

    def serve(self, port: int) -> int:
        """Serve the REST API on a port of loopback until Ctrl-C; return SAM's exit code."""
        words = ("start-api", "--host", engine_access.LOOPBACK, "--port", str(port))
        return self._local(*words, output=None, errors=None)

    def _local(self, *words: str, output: IO[bytes] | None, errors: IO[bytes] | None) -> int:
        return self.sam.local(
            *words,
            *self.options,
            endpoint=container_template.endpoint(self.sam.access.port),
            hidden={name for declared in self.variables.values() for name in declared},
            output=output,
            errors=errors,
        )


@contextmanager
def prepared(project: Path, home: LocalFolder, *, skip_pull: bool) -> Iterator[ContainerRuns]:
    """Build for containers, and let them reach the running stack during the block.

    Raises:
        CommandError: No stack runs, Docker does not answer, or the build failed.

    """
    bridge = containers.find_bridge()
    access = engine_access.find(home.engine_access)
    if access is None or not engine_access.is_taken(access.port):
        raise CommandError(
            f"No local stack runs from {home.root}: start one with `make run`, in another terminal."
        )
    sam = Sam(project, home, access)
    target = host_parameters()
    with sam.alone(target["Architecture"]):
        built = sam.build(target["Architecture"])
        variables = _deployed(project, access, built)
        container_code.lay_out(
            _read(built), built.parent, port=access.port, functions=list(variables)
        )
        template = container_template.write(built, variables, port=access.port, target=target)
        options = [
            "--template-file", str(template),
            "--parameter-overrides", *samconfig.overrides(target),
            "--add-host", f"{containers.HOST}:host-gateway",
        ]  # fmt: skip
        if skip_pull:
            options.append("--skip-pull-image")
        with containers.forwarded(bridge, access.port):
            yield ContainerRuns(project, sam, variables, tuple(options))


def find_function(functions: list[str], name: str) -> str:
    """Return the logical id that a name means: `KeysAdminFunction`, `KeysAdmin` or `keys_admin`.

    Raises:
        OptionError: No function has this name.

    """
    plain = name.replace("_", "").replace("-", "").lower().removesuffix("function")
    for function in functions:
        if function.removesuffix("Function").lower() == plain:
            return function
    known = ", ".join(one.removesuffix("Function") for one in functions)
    raise OptionError(f"There is no function {name!r}. There are {known}.")


def find_event(project: Path, name: str) -> Path:
    """Return the file of an event: a path, or a name in `events`.

    Raises:
        OptionError: The file does not exist.

    """
    for path in (Path(name), project / EVENTS / f"{name}.json"):
        if path.is_file():
            return path.absolute()
    known = ", ".join(sorted(path.stem for path in (project / EVENTS).glob("*.json")))
    raise OptionError(f"There is no event {name!r}. {EVENTS} has {known}.")


def own_event(function: str) -> str:
    """Return the name of a function's own event: `keys_admin` for `KeysAdminFunction`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", function.removesuffix("Function")).lower()


def expected_answer(project: Path, function: str) -> Any:
    """Return what a function must answer to its own event; see `answers`."""
    path = project / ANSWERS / f"{own_event(function)}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _deployed(project: Path, access: EngineAccess, built: Path) -> dict[str, dict[str, str]]:
    """Return the variables of each function in the engine, by logical id."""
    stack, to = samconfig.read(project, "local").stack, clients(access)
    return {
        name: _variables(to, stack, name) for name in container_template.functions(_read(built))
    }


def _variables(to: Clients, stack: str, function: str) -> dict[str, str]:
    resource = to.cloudformation.describe_stack_resource(
        StackName=stack, LogicalResourceId=function
    )["StackResourceDetail"]
    configuration = to.functions.get_function_configuration(
        FunctionName=resource["PhysicalResourceId"]
    )
    return dict(configuration["Environment"]["Variables"])


def _read(template: Path) -> dict[str, Any]:
    return dict(yaml_text.load(template.read_text(encoding="utf-8")))
