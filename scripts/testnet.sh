#!/bin/sh
# Runs the main job on this machine: a chain and affiliates as real processes,
# the ten steps, checked from outside. Needs Go 1.26 and git, nothing else.
# ./scripts/testnet.sh --help lists the options.
set -eu
if ! command -v go >/dev/null 2>&1; then
	echo "no go command in PATH: install Go 1.26 or later from https://go.dev/dl" >&2
	exit 1
fi
here=$(pwd)
cd "$(dirname "$0")/.."
mkdir -p .cache/testnet/bin
echo "building (the first time takes a few minutes)" >&2
GOFLAGS= go build -buildvcs=false -o .cache/testnet/bin/testnet ./cmd/testnet
root=$(pwd)
# A relative --dir is meant from where the script was called.
cd "$here"
exec "$root/.cache/testnet/bin/testnet" --root "$root" "$@"
