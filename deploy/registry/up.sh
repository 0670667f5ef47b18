#!/usr/bin/env bash
# A registry that Ollama pulls from: up.sh [ADDRESS [FOLDER]]      default: 127.0.0.1:5000 data/registry
#
# Needs Debian's packages docker-registry and nginx-light. Ends both with Ctrl-C. Pushed to by
# `stock-llm publish --to registry` with `registry = "http://ADDRESS/library"` in [publish].
# Anybody who reaches ADDRESS may push: let others in through TLS and a check of who they are (nginx.conf).
set -euo pipefail
address=${1:-127.0.0.1:5000}
mkdir -p "${2:-data/registry}/tmp"
data=$(cd "${2:-data/registry}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
for program in docker-registry nginx; do
    command -v "$program" >/dev/null || { echo "$program is missing: apt install docker-registry nginx-light" >&2; exit 1; }
done
inner=$((${address##*:} + 1))
for file in config.yml nginx.conf; do
    sed "s|@DATA@|$data|g; s|@ADDRESS@|$address|g; s|@INNER@|$inner|g" "$here/$file" > "$data/$file"
done
docker-registry serve "$data/config.yml" & registry=$!
trap 'kill $registry 2>/dev/null || true' EXIT
trap 'exit 0' INT TERM
nginx -p "$data" -e stderr -c "$data/nginx.conf" & server=$!
trap 'kill $registry $server 2>/dev/null || true' EXIT
echo "a registry on http://$address, its files in $data"
wait -n "$registry" "$server"
