"""`gatehouse bootstrap`: the first key of a stack, by IAM alone."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
import click
import yaml

from gatehouse_cli import stack_functions
from gatehouse_cli.errors import CommandError
from gatehouse_cli.stack_functions import RefusedError, readable_errors, stack_outputs

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ALREADY_BOOTSTRAPPED = "ALREADY_BOOTSTRAPPED"


def first_key(
    client: "LambdaClient", function_name: str, *, action: Literal["create", "recover"]
) -> str:
    """Return a new admin key in full; nothing can show it again.

    `create` makes the operator's account as well and works once, `recover` adds a key to it.

    Raises:
        RefusedError: The stack declined, for one because it is bootstrapped already.
        CommandError: The function failed, or answered something else.

    """
    match invoke(client, function_name, {"action": action}):
        case {"api_key": {"key": str(key)}}:
            return key
        case _:
            raise CommandError(
                "The bootstrap function gave no key: is the stack of this command's version?"
            )


def invoke(client: "LambdaClient", function_name: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Invoke the stack's bootstrap function and return its answer; raises as its `invoke`."""
    return stack_functions.invoke(client, function_name, payload, what="bootstrap")


@click.command()
@click.option("--stack", default="gatehouse", show_default=True, help="CloudFormation stack.")
@click.option("--recover", is_flag=True, help="Add an admin key to a stack that has its first.")
@click.option("--invite", is_flag=True, help="Print an invite for the first admin, not a key.")
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fill the operator's account from this YAML file.",
)
@click.option("--dry-run", is_flag=True, help="With --file: print the plan and change nothing.")
def bootstrap(stack: str, file: Path | None, *, recover: bool, invite: bool, dry_run: bool) -> None:
    """Make the operator's account and print its first key, once.

    Needs AWS credentials that may describe the stack and invoke its bootstrap function.
    """
    if sum((recover, invite, file is not None)) > 1 or (dry_run and file is None):
        raise CommandError(
            "Give one of --recover, --invite and --file; --dry-run goes with --file."
        )
    with readable_errors(stack), _hinted():
        session = boto3.Session()
        name = stack_outputs(session, stack)["BootstrapFunctionName"]
        client = session.client("lambda")
        if file is not None:
            apply(client, name, file, dry_run=dry_run)
            return
        if invite:
            code = invoke(client, name, {"action": "invite"})["invite"]["code"]
            click.echo(code)
            click.echo("Who redeems it first becomes the admin.", err=True)
            return
        click.echo(first_key(client, name, action="recover" if recover else "create"))
        click.echo("This is the only time it is shown.", err=True)


def file_from_environment() -> Path | None:
    """Return the file that CHORUS_BOOTSTRAP names, to be applied after a deployment; or None.

    Raises:
        CommandError: There is no such file, or it names a variable that is not set.

    """
    named = os.environ.get("CHORUS_BOOTSTRAP")
    if not named:
        return None
    file = Path(named)
    if not file.is_file():
        raise CommandError(f"CHORUS_BOOTSTRAP names {named}, which is no file.")
    webhook_secrets(file.read_text(encoding="utf-8"))
    return file


def webhook_secrets(text: str) -> dict[str, str]:
    """Read the variables that a bootstrap file's webhooks name as their secrets.

    What else is wrong with the file is told by the stack, which names line and field.

    Raises:
        CommandError: A variable is not set here, or holds something else; nothing was sent.

    """
    try:
        file = yaml.safe_load(text)
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
            f"A webhook's secret is to come from {missing[0]}, which is not set here."
        )
    other = [name for name in named if not os.environ[name].startswith("whsec_")]
    if other:
        raise CommandError(f"{other[0]} holds no webhook secret: those begin with whsec_.")
    return {name: os.environ[name] for name in named}


def apply(client: "LambdaClient", function_name: str, file: Path, *, dry_run: bool) -> None:
    """Apply a bootstrap file and print what was done, an invite's code or a secret included.

    Raises:
        RefusedError: The file is refused whole; the message names line and field.
        CommandError: It names a variable that is not set here.

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
def _hinted() -> Iterator[None]:
    """Tell who comes a second time what else there is."""
    try:
        yield
    except RefusedError as refused:
        hint = "; --recover adds a key" if refused.code == ALREADY_BOOTSTRAPPED else ""
        raise RefusedError(refused.code, f"{refused}{hint}") from refused
