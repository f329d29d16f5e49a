"""Builds the stack, deploys it to the engine, and reads what was deployed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from gatehouse_cli.aws_sam import now
from gatehouse_cli.local import engine_template, template
from gatehouse_cli.local.aws import Clients
from gatehouse_cli.local.engine import Engine
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.sam import Sam

BUCKET = "gatehouse-artifacts"
STAGE = "live"
EXECUTE = "/_aws/execute-api"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Deployment:
    """The stack of this name in an engine."""

    project: Path
    home: LocalFolder
    name: str
    engine: Engine
    clients: Clients

    def make(self, parameters: Mapping[str, str], say: Say) -> None:
        """Build and deploy, then set up what the engine ignores in a template."""
        sam = Sam(self.project, self.home, self.engine.access)
        with sam.alone():
            say("Building the layers and functions")
            built = engine_template.write(
                sam.build(), f"{self.engine.endpoint}{EXECUTE}", self.engine.access.port
            )
            self._forget_failed()
            self.clients.s3.create_bucket(Bucket=BUCKET)
            say("Deploying the stack")
            sam.deploy(
                built,
                self.name,
                bucket=BUCKET,
                parameters={**parameters, "DeployedAt": now()},
            )
        say("Setting up gateway responses and time to live")
        self._put_gateway_responses()
        self._put_expiry()

    def is_complete(self) -> bool:
        """Return whether the engine's state has the stack, completely deployed."""
        return self._status() in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}

    def outputs(self) -> dict[str, str]:
        """Return the outputs; ids in them may change with each deployment."""
        stacks = self.clients.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        return {item["OutputKey"]: item["OutputValue"] for item in stacks[0]["Outputs"]}

    def log_groups(self) -> dict[str, str]:
        """Return the stack's log groups: name in the engine → logical id."""
        groups = template.log_groups(self._template())
        return {self._physical_id(logical): logical for logical in groups}

    def _status(self) -> str | None:
        try:
            stacks = self.clients.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError:
            return None
        return stacks[0]["StackStatus"]

    def _forget_failed(self) -> None:
        """Delete a stack whose first deployment failed: CloudFormation cannot update it."""
        if self._status() in {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"}:
            self.clients.cloudformation.delete_stack(StackName=self.name)

    def _put_gateway_responses(self) -> None:
        gateway = self.clients.apigateway
        api = self.outputs()["ApiId"]
        for response in template.gateway_responses(self._template()):
            gateway.put_gateway_response(
                restApiId=api,
                responseType=response.response_type,  # type: ignore[arg-type]  # Named by the template.
                statusCode=response.status_code,
                responseParameters=response.parameters,
                responseTemplates=response.templates,
            )
        gateway.create_deployment(restApiId=api, stageName=STAGE)

    def _put_expiry(self) -> None:
        for logical, attribute in template.expiring_tables(self._template()).items():
            self.clients.dynamodb.update_time_to_live(
                TableName=self._physical_id(logical),
                TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
            )

    def _physical_id(self, logical: str) -> str:
        detail = self.clients.cloudformation.describe_stack_resource(
            StackName=self.name, LogicalResourceId=logical
        )["StackResourceDetail"]
        return detail["PhysicalResourceId"]

    def _template(self) -> dict[str, object]:
        return template.resources(self.project / "template.yaml")
