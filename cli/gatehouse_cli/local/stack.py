"""Starts one local stack and stops everything that it started.

`gatehouse up` and the end-to-end tests go this same way.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse_cli import samconfig, settings_keys
from gatehouse_cli.bootstrap import (
    ALREADY_BOOTSTRAPPED,
    apply,
    file_from_environment,
    first_key,
)
from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import engine_access, env_file, stamp
from gatehouse_cli.local.aws import Clients, clients
from gatehouse_cli.local.callers import LOOPBACK_NAMES, own_names
from gatehouse_cli.local.deployment import EXECUTE, STAGE, Deployment, Say
from gatehouse_cli.local.engine import Engine
from gatehouse_cli.local.engine import running as engine_running
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.env_file import LocalEnv
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.front_door import FrontDoor, Target
from gatehouse_cli.local.sam import built_template, host_parameters
from gatehouse_cli.local.server import listen, serve_in_thread
from gatehouse_cli.project import get_tool
from gatehouse_cli.stack_functions import RefusedError


@dataclass(frozen=True)
class Plan:
    """What to run, and where. `parameters` override the [local] set of samconfig.toml.

    `hosts` are names that the front door answers beside those of loopback. Without `engine_port`
    the engine keeps the port of its last run, or takes a free one.
    """

    project: Path
    home: LocalFolder
    ports: tuple[int, ...] = (8080,)
    hosts: tuple[str, ...] = ()
    engine_port: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    enforce_iam: bool = True


@dataclass(frozen=True)
class LocalStack:
    """A running stack."""

    url: str
    api_key: str
    key_is_new: bool
    outputs: Mapping[str, str]
    log_groups: Mapping[str, str]
    engine: Engine
    clients: Clients


@contextmanager
def running(plan: Plan, say: Say) -> Iterator[LocalStack]:
    """Run the stack while the block runs; `say` is called with the name of each step.

    Raises:
        CommandError: A port is taken, a tool is missing, or a step failed. Nothing is left running.

    """
    python = get_tool(plan.project, "engine", "python")
    get_tool(plan.project, "sam", "sam")  # Fails before anything is started.
    door = FrontDoor(own_names(plan.ports, plan.hosts))
    with plan.home.lock(), listen(plan.ports) as sockets:
        plan.home.prepare()
        access = engine_access.choose(plan.home.engine_access, port=plan.engine_port)
        say("Starting the engine")
        with (
            engine_running(
                python,
                plan.home,
                access=access,
                built=built_template(plan.project).parent,
                enforce_iam=plan.enforce_iam,
            ) as engine,
            serve_in_thread(door, sockets),
        ):
            try:
                yield _raise_stack(plan, engine, door, say)
            except (BotoCoreError, ClientError) as error:
                engine.check()
                raise CommandError(f"The engine failed: {error} (see {engine.log}).") from error
            finally:
                say("Stopping; the engine saves its state")
                door.target = None


def _raise_stack(plan: Plan, engine: Engine, door: FrontDoor, say: Say) -> LocalStack:
    place = samconfig.read(plan.project, "local")
    parameters = {
        **place.parameters,
        **own_places(plan, engine.access),
        **host_parameters(),
        **settings_keys.NONE,
        **settings_keys.from_environment(),
        **plan.parameters,
    }
    deployment = Deployment(plan.project, plan.home, place.stack, engine, clients(engine.access))
    wanted = stamp.compute(plan.project, {**parameters, "engine": engine.endpoint})
    if stamp.matches(plan.home.stamp, wanted) and deployment.is_complete():
        say("Nothing has changed since the last deployment")
    else:
        deployment.make(parameters, say)
        plan.home.stamp.write_text(wanted, encoding="utf-8")
    outputs = deployment.outputs()
    door.target = Target(
        engine.access,
        rest_path=f"{EXECUTE}/{outputs['ApiId']}/{STAGE}",
        socket_path=f"{EXECUTE}/{outputs['SocketApiId']}/{STAGE}",
    )
    url = f"http://localhost:{plan.ports[0]}"
    say("Checking the key")
    api_key, is_new = _key(plan, deployment.clients, url, outputs["BootstrapFunctionName"])
    env_file.write(plan.home.env_file, _local_env(url, api_key, engine.access))
    seed = file_from_environment()
    if seed is not None:
        say("Applying the bootstrap file")
        try:
            apply(
                deployment.clients.functions, outputs["BootstrapFunctionName"], seed, dry_run=False
            )
        except RefusedError as refused:
            raise CommandError(f"{seed} was refused: {refused}") from refused
    return LocalStack(
        url=url,
        api_key=api_key,
        key_is_new=is_new,
        outputs=outputs,
        log_groups=deployment.log_groups(),
        engine=engine,
        clients=deployment.clients,
    )


def own_places(plan: Plan, access: EngineAccess) -> dict[str, str]:
    """Return the parameters that name this stack's own addresses.

    A sign-in message may name each host that the front door answers. No webhook may call one, nor
    the engine. A loopback name among `plan.hosts` is another program's, such as a site's server in
    development, which may be called.
    """
    named = [host for host in plan.hosts if not host.startswith(LOOPBACK_NAMES)]
    engine = own_names([access.port])
    return {
        "BaseUrl": f"http://localhost:{plan.ports[0]}",
        "WalletDomains": ",".join(own_names(plan.ports, plan.hosts)),
        "OwnHosts": ",".join((*own_names(plan.ports, named), *engine)),
    }


def _key(plan: Plan, to: Clients, url: str, function_name: str) -> tuple[str, bool]:
    """Return a valid key and whether it is new.

    The kept key is tried first: it may have been revoked, or the state forgotten.
    """
    kept = env_file.read(plan.home.env_file)
    if kept and _answers(url, kept.api_key):
        return kept.api_key, False
    try:
        api_key = first_key(to.functions, function_name, action="create")
    except RefusedError as refused:
        if refused.code != ALREADY_BOOTSTRAPPED:
            raise CommandError(f"The stack created no first key: {refused}.") from refused
        api_key = first_key(to.functions, function_name, action="recover")
    return api_key, True


def _local_env(url: str, api_key: str, access: EngineAccess) -> LocalEnv:
    return LocalEnv(
        url,
        api_key,
        engine_url=access.endpoint,
        engine_id=access.key_id,
        engine_secret=access.secret,
    )


def _answers(url: str, api_key: str) -> bool:
    try:
        response = httpx.get(
            f"{url}/v1/whoami",
            headers={"Authorization": f"Bearer {api_key}"},
            trust_env=False,
            timeout=30,
        )
    except httpx.TransportError:
        return False
    return response.is_success


def clean(home: LocalFolder) -> None:
    """Delete state, key and logs. Tools and build folders stay."""
    with home.lock():
        for folder in (home.state, home.scratch, home.logs):
            shutil.rmtree(folder, ignore_errors=True)
        home.env_file.unlink(missing_ok=True)
