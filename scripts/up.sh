#!/usr/bin/env bash
# Starts what a person looks at in the browser: a Prefect server with the deployments and a worker, and an MLflow server.
# Everything on loopback; Ctrl-C stops all of it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true
export PREFECT_API_URL=${PREFECT_API_URL:-http://127.0.0.1:4200/api}
mkdir -p mlflow
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT

prefect server start --host 127.0.0.1 --port 4200 &
mlflow server --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///mlflow/mlflow.db &
until curl -sf "$PREFECT_API_URL/health" >/dev/null; do sleep 1; done
prefect work-pool inspect stock-llm >/dev/null 2>&1 || prefect work-pool create --type process stock-llm
prefect --no-prompt deploy --all
printf '\nPrefect: http://127.0.0.1:4200\nMLflow:  http://127.0.0.1:5000/#/models/stock-llm?workflowType=machine_learning\n(Ctrl-C stops both)\n\n'
prefect worker start --pool stock-llm
