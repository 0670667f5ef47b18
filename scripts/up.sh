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
prefect=$!
mlflow server --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///mlflow/mlflow.db &
mlflow=$!
runs() { # PID NAME PORT: ends with the remedy where the server is gone
    kill -0 "$1" 2>/dev/null || { printf 'up: %s ended; what it said stands above. Is port %s taken by another program?\n' "$2" "$3" >&2; exit 1; }
}
until curl -sf "$PREFECT_API_URL/health" >/dev/null && curl -sf http://127.0.0.1:5000/health >/dev/null; do
    runs "$prefect" "the Prefect server" 4200
    runs "$mlflow" "the MLflow server" 5000
    [ "$SECONDS" -lt 180 ] || { echo "up: no answer on ports 4200 and 5000 of 127.0.0.1 after $SECONDS s. Does another program have one of them?" >&2; exit 1; }
    sleep 1
done
runs "$prefect" "the Prefect server" 4200
runs "$mlflow" "the MLflow server" 5000
prefect work-pool inspect stock-llm >/dev/null 2>&1 || prefect work-pool create --type process stock-llm
prefect --no-prompt deploy --all
printf '\nPrefect: http://127.0.0.1:4200\nMLflow:  http://127.0.0.1:5000/#/models/stock-llm?workflowType=machine_learning\n(Ctrl-C stops both)\n\n'
prefect worker start --pool stock-llm
