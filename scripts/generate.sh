#!/bin/sh
# Regenerates the Go code of api/ from its protobuf files. With --check it
# changes nothing, and fails if the committed code is not what comes out.
# The tools are Go modules; they are built into .cache/bin.
set -eu
buf=v1.75.0
protobuf=v1.36.12
connect=v1.21.1

cd "$(dirname "$0")/.."
root=$(pwd)
export GOFLAGS=
bin="$root/.cache/bin"
mkdir -p "$bin"

# tool MODULE VERSION builds a command once for each version.
tool() {
	mark="$bin/.$(basename "$1")-$2"
	if [ ! -e "$mark" ]; then
		echo "building $(basename "$1") $2" >&2
		GOBIN="$bin" go install "$1@$2"
		touch "$mark"
	fi
}
tool google.golang.org/protobuf/cmd/protoc-gen-go "$protobuf"
tool connectrpc.com/connect/cmd/protoc-gen-connect-go "$connect"
tool github.com/bufbuild/buf/cmd/buf "$buf"

case "${1:-}" in
"")
	cd api
	PATH="$bin:$PATH" "$bin/buf" generate
	;;
--check)
	fresh=$(mktemp -d)
	trap 'rm -rf "$fresh"' EXIT
	(cd api && PATH="$bin:$PATH" "$bin/buf" generate --output "$fresh")
	bad=0
	for file in $(cd "$fresh" && find . -name '*.go') $(cd api && find . -name '*.pb.go' -o -name '*.connect.go'); do
		if ! cmp -s "$fresh/$file" "api/$file"; then
			echo "api/${file#./} is not what its protobuf file gives: run ./scripts/generate.sh" >&2
			bad=1
		fi
	done
	if ! (cd api && "$bin/buf" lint); then
		bad=1
	fi
	exit $bad
	;;
*)
	echo "usage: generate.sh [--check]" >&2
	exit 2
	;;
esac
