"""Who this server is, and that it is up."""

from __future__ import annotations

import os
from importlib import metadata

from aiohttp import web

from pgdurable.server.keys import options_of
from pgdurable.server.refusals import json_response

MLFLOW_PACKAGES = ("mlflow", "mlflow-skinny")


async def health(request: web.Request) -> web.Response:
    """Static, as load balancers want it: a database that is away must not restart the process."""
    return json_response({"status": "healthy"})


async def agent_info(request: web.Request) -> web.Response:
    """MLflow's description of an agent (docs/wire.md 9), with `mlflow_version` where it is."""
    about = {
        "name": os.environ.get("DATABRICKS_APP_NAME") or options_of(request).agent_name,
        "use_case": "agent",
        "agent_api": "responses",
        "pgdurable_version": metadata.version("pgdurable"),
    }
    if (mlflow := _mlflow_version()) is not None:
        about["mlflow_version"] = mlflow
    return json_response(about)


def _mlflow_version() -> str | None:
    for package in MLFLOW_PACKAGES:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None
