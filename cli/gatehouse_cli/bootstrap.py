"""`gatehouse bootstrap`: create the first key of a stack. Authorized by IAM alone."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import yaml

from gatehouse_cli import stack_functions, yaml_text
from gatehouse_cli.aws_session import find_stack, open_session, stack_options
from gatehouse_cli.errors import CommandError, OptionError
from gatehouse_cli.stack_functions import RefusedError, readable_errors, stack_outputs

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ALREADY_BOOTSTRAPPED = "ALREADY_BOOTSTRAPPED"


def first_key(
    client: "LambdaClient", function_name: str, *, action: Literal["create", "recover"]
) -> str:
    """Return a new admin key in full; it cannot be read again.

    `create` also creates the operator account and works once; `recover` adds a key to it.

    Raises:
        RefusedError: The stack refused, for example because it is already bootstrapped.
        CommandError: The function failed, or its answer has no key.

    """
    match invoke(client, function_name, {"action": action}):
        case {"api_key": {"key": str(key)}}:
            return key
        case _:
            raise CommandError(
                "The bootstrap function returned no key: deploy the stack in the version of this"
                " command."
            )


def invoke(client: "LambdaClient", function_name: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Invoke the stack's bootstrap function and return its answer; raises as its `invoke`."""
    return stack_functions.invoke(client, function_name, payload, what="bootstrap")


@click.command()
@stack_options
@click.option("--recover", is_flag=True, help="Create another admin key for a bootstrapped stack.")
@click.option(
    "--invite", is_flag=True, help="Print an invite for the first admin instead of a key."
)
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Apply this bootstrap file (YAML) to the operator account.",
)
@click.option(
    "--dry-run", is_flag=True, help="With --file: print what would change, and change nothing."
)
def bootstrap(  # click passes one argument for each option.
    *,
    place: str | None,
    stack: str | None,
    file: Path | None,
    recover: bool,
    invite: bool,
    dry_run: bool,
) -> None:
    """Create the operator account and print its first key, once.

    Requires AWS credentials that can describe the stack and invoke its bootstrap function.
    """
    if sum((recover, invite, file is not None)) > 1 or (dry_run and file is None):
        raise OptionError(
            "Use only one of --recover, --invite and --file; --dry-run requires --file."
        )
    target = find_stack(place, stack)
    session = open_session(target)
    with readable_errors(target.stack), _recover_hint():
        name = stack_outputs(session, target.stack)["BootstrapFunctionName"]
        client = stack_functions.functions(session)
        if file is not None:
            apply(client, name, file, dry_run=dry_run)
            return
        if invite:
            code = invoke(client, name, {"action": "invite"})["invite"]["code"]
            click.echo(code)
            click.echo("The first to redeem it becomes the admin.", err=True)
            return
        click.echo(first_key(client, name, action="recover" if recover else "create"))
        click.echo("Store this key now: it is not shown again.", err=True)


def file_from_environment() -> Path | None:
    """Return the file that CHORUS_BOOTSTRAP names, None when it is not set.

    Raises:
        CommandError: The file does not exist, or it names a variable that is not set.

    """
    path = os.environ.get("CHORUS_BOOTSTRAP")
    if not path:
        return None
    file = Path(path)
    if not file.is_file():
        raise CommandError(f"CHORUS_BOOTSTRAP names {path}, but that file does not exist.")
    webhook_secrets(file.read_text(encoding="utf-8"))
    return file


def webhook_secrets(text: str) -> dict[str, str]:
    """Return the webhook secrets of a bootstrap file, by the variable that holds each.

    Other faults of the file are reported by the stack, with line and field.

    Raises:
        CommandError: A variable is not set, or is not a webhook secret. Nothing was sent.

    """
    try:
        file = yaml_text.load(text)
    except yaml.YAMLError:
        return {}
    entries = file.get("webhooks") if isinstance(file, dict) else None
    named = [
        entry["secret_env"]
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("secret_env"), str)
    ]
    missing = [name for name in named if not os.environ.get(name)]
    if missing:
        raise CommandError(
            f"A webhook reads its secret from {missing[0]}, which is not set: set it."
        )
    other = [name for name in named if not os.environ[name].startswith("whsec_")]
    if other:
        raise CommandError(f"{other[0]} must hold a webhook secret: one begins with whsec_.")
    return {name: os.environ[name] for name in named}


def apply(client: "LambdaClient", function_name: str, file: Path, *, dry_run: bool) -> None:
    """Apply a bootstrap file and print each change, new invite codes and secrets included.

    Raises:
        RefusedError: Nothing of the file was applied; the message names line and field.
        CommandError: The file names a variable that is not set.

    """
    text = file.read_text(encoding="utf-8")
    payload = {
        "action": "apply",
        "yaml": text,
        "dry_run": dry_run,
        "secrets": webhook_secrets(text),
    }
    answer = invoke(client, function_name, payload)
    for step in answer["steps"]:
        detail = f" {json.dumps(step['detail'])}" if step["verb"] == "update" else ""
        word = "secret" if step["kind"] == "webhook" else "code"
        shown = f" {word} {step['shown']}" if step["shown"] else ""
        click.echo(f"{step['verb']} {step['kind']} {step['name']}{detail}{shown}")
    changed = sum(step["verb"] != "keep" for step in answer["steps"])
    click.echo(f"{changed} of {len(answer['steps'])} {'would change' if dry_run else 'changed'}")


@contextmanager
def _recover_hint() -> Iterator[None]:
    """Mention --recover when the stack is already bootstrapped."""
    try:
        yield
    except RefusedError as refused:
        hint = "; --recover creates another key" if refused.code == ALREADY_BOOTSTRAPPED else ""
        raise RefusedError(refused.code, f"{refused}{hint}") from refused
