"""The table that ``make run`` ends its start with: where everything is, who may log in, what to try first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplatform.run.environment import LaunchPlan
from mlplatform.run.problems import LaunchError

_SENTENCE = "What a wonderful morning!"
_WIDTH = 14


def render(plan: LaunchPlan) -> str:
    """Return the table; raises LaunchError when the demo file is missing or broken."""
    demo = read_demo(plan.data_dir / "demo.json")
    base = str(demo.get("base_url") or plan.web_url)
    tenants: Mapping[str, Mapping[str, Any]] = demo.get("tenants") or {}
    lines = [
        "",
        _row("REST", f"{base}/v2/"),
        _row("GraphQL", f"{base}/graphql"),
        _row("gRPC", f"{plan.grpc_target} ({'TLS' if plan.grpc_tls else 'plain text'})"),
        _row("Others", f"{base}/oip (Open Inference Protocol), {base}/openai/v1 (OpenAI's embeddings)"),
        _row("Documents", f"{base}/docs"),
        _row("Admin", str(demo.get("admin_url") or f"{base}/admin/")),
        _row("", f"{demo.get('admin_username', '')}  password {demo.get('admin_password', '')}"),
    ]
    for name, tenant in tenants.items():
        lines.append(_row(f"Tenant {name}", f"API key {tenant.get('api_key', '')}"))
    lines += [_row("Files, logs", str(plan.data_dir)), ""]
    first = next(iter(tenants.values()), None)
    if first is not None:
        key = str(first.get("api_key", ""))
        lines += ["Try:", *curl_lines(base, key), grpcurl_line(plan, key), ""]
    lines.append("Everything is ready. Ctrl-C stops it.")
    return "\n".join(lines)


def curl_lines(base: str, key: str) -> list[str]:
    """Return commands that can be pasted: a prediction, the models, what is left of the limits."""
    authorization = f"-H 'Authorization: Bearer {key}'"
    body = json.dumps({"model": "sentiment", "input": _SENTENCE})
    return [
        f"  curl -s {base}/v2/predict {authorization} -H 'Content-Type: application/json' -d '{body}'",
        f"  curl -s {base}/v2/models {authorization}",
        f"  curl -s {base}/v2/limits {authorization}",
    ]


def grpcurl_line(plan: LaunchPlan, key: str) -> str:
    """Return the same prediction over gRPC; the server tells grpcurl of its services by reflection."""
    body = json.dumps({"model_name": "sentiment", "text": _SENTENCE})
    return (
        f"  grpcurl {'-insecure' if plan.grpc_tls else '-plaintext'} -H 'Authorization: Bearer {key}' -d '{body}' "
        f"{plan.grpc_target} ml_inference.InferenceService/Predict"
    )


def read_demo(path: Path) -> Mapping[str, Any]:
    """Return what seed_demo wrote for scripts; raises LaunchError when it cannot be read."""
    try:
        demo = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LaunchError(f"{path} cannot be read ({error}): remove it and start again.") from error
    if not isinstance(demo, dict):
        raise LaunchError(f"{path} is not what seed_demo writes: remove it and start again.")
    return demo


def _row(label: str, value: str) -> str:
    return f"  {label:<{_WIDTH}}{value}"
