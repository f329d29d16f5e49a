"""Tagged Lambda functions and ECS services, which Gatehouse finds as services."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import boto3
import pytest

CODE = "def handler(event, context):\n    return 'well'\n"


def zipped(code: str = CODE) -> bytes:
    """Make the zip file of one handler."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("handler.py", code)
    return packed.getvalue()


class Workloads:
    """Creates functions and ECS services. `name` is the service's name, the value of its tag."""

    def __init__(self) -> None:
        policy = '{"Version": "2012-10-17", "Statement": []}'
        made = boto3.client("iam").create_role(
            RoleName="runs-functions", AssumeRolePolicyDocument=policy
        )
        self._role = made["Role"]["Arn"]
        self.lambdas = boto3.client("lambda")
        self.ecs = boto3.client("ecs")
        self.logs = boto3.client("logs")
        self.cloudwatch = boto3.client("cloudwatch")
        self._made: list[str] = []

    def function(self, name: str, *, code: str = CODE, **fields: Any) -> str:
        """Create a function of a service; `tags` are added to the service's tag."""
        tags = {"gatehouse:service": name, **fields.pop("tags", {})}
        variables = fields.pop("variables", {"MODE": "fast"})
        self.lambdas.create_function(
            FunctionName=f"fn-{name}",
            Runtime="python3.13",
            Role=self._role,
            Handler="handler.handler",
            Code={"ZipFile": zipped(code)},
            Environment={"Variables": variables},
            Tags=tags,
            **fields,
        )
        self._made.append(f"fn-{name}")
        return f"fn-{name}"

    def variables(self, function: str) -> dict[str, str]:
        """Read a function's environment variables."""
        said = self.lambdas.get_function(FunctionName=function)["Configuration"]
        return dict(said.get("Environment", {}).get("Variables", {}))

    def failed(self, function: str, *, errors: int, invocations: int) -> None:
        """Write the metrics of failed and of all calls to CloudWatch."""
        self.cloudwatch.put_metric_data(
            Namespace="AWS/Lambda",
            MetricData=[
                {
                    "MetricName": metric,
                    "Dimensions": [{"Name": "FunctionName", "Value": function}],
                    "Value": value,
                }
                for metric, value in (("Errors", errors), ("Invocations", invocations))
            ],
        )

    def container(self, name: str, *, desired: int = 2, running: int | None = None) -> str:
        """Create an ECS service; `running` tasks run, by default as many as `desired`."""
        cluster = "main"
        self.ecs.create_cluster(clusterName=cluster)
        task = self.ecs.register_task_definition(
            family=name,
            containerDefinitions=[
                {
                    "name": "app",
                    "image": "app",
                    "memory": 128,
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {"awslogs-group": f"/ecs/{name}"},
                    },
                }
            ],
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOTO_ECS_SERVICE_RUNNING", str(desired if running is None else running))
            made = self.ecs.create_service(
                cluster=cluster,
                serviceName=name,
                taskDefinition=task["taskDefinition"]["taskDefinitionArn"],
                desiredCount=desired,
                tags=[{"key": "gatehouse:service", "value": name}],
            )
        return str(made["service"]["serviceArn"])

    def clear(self) -> None:
        """Delete every function and ECS service."""
        for function in self._made:
            self.lambdas.delete_function(FunctionName=function)
        self._made.clear()
        for cluster in self.ecs.list_clusters()["clusterArns"]:
            for service in self.ecs.list_services(cluster=cluster)["serviceArns"]:
                self.ecs.untag_resource(resourceArn=service, tagKeys=["gatehouse:service"])
                self.ecs.delete_service(cluster=cluster, service=service, force=True)


@pytest.fixture(scope="module")
def workloads(aws: pytest.MonkeyPatch) -> Workloads:
    """Workloads in moto; requests out may go to this machine."""
    aws.setenv("GATEHOUSE_OUTBOUND", "local")
    aws.setenv("GATEHOUSE_LOG_GROUPS", "arn:aws:logs:us-east-1:123456789012:log-group:")
    return Workloads()
