#!/bin/sh
# Runs the slower suites by name; without a name it lists them. It fails when a
# suite fails, and when one can't run here, unless --may-skip is given.
set -eu
export GOFLAGS=

list() {
	cat <<'END'
name         needs               takes     what
kill         Go                  2 min     kill -9 of each daemon at several moments of an agreement
store-kill   Go                  3 min     kill -9 of a process that fills the store, 200 times; what was acknowledged is there, and nothing half
store-power  Go, root            1 min     a disk loses its power under a process that fills the store, 60 times; as above
restore      Go                  1 min     nodes that restore an older backup get from the others and the chain what happened since
gossip       Go                  1 min     a proposal reaches a party that no stream reaches
validators4  Go                  1 min     the main job on a chain of four validators
affiliates5  Go                  1 min     the main job with two affiliates that are never a party
life-cycle   Go                  1 min     200,000 shuffled agreements through the pure life cycle (WORLDS=, SEED=)
fuzz         Go                  4 min     every fuzz target for 15 s, but the chain client's
race         Go, a C compiler    6 min     go test -race of all packages but the chain's
differential Go                  1 min     200,000 calls of generated modules: both engines, rewritten and not
processes    Go                  2 min     200 processes run every example contract and agree to the byte
arm64        Go, Debian          3 min     the corpus and the examples on arm64 (qemu-user) as on this machine
guests       Debian, npm         1 min     the C, AssemblyScript and WAT guests are what their sources give
generate     Go                  2 min     generated code is what the protobuf files give
lint         Go                  6 min     golangci-lint (its first build is most of the time)
END
}

# Built from source; the first time takes about five minutes on two cores.
golangci=v2.15.0

cd "$(dirname "$0")/.."
root=$(pwd)

# debian COMMAND PACKAGE installs a Debian package for a command that is missing.
debian() {
	if command -v "$1" >/dev/null 2>&1; then
		return 0
	fi
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		return 1
	fi
	echo "installing the Debian package $2" >&2
	{ apt-get update -qq && apt-get install -y -qq "$2"; } >&2
}

skip() {
	echo "suite $1 can't run here: $2" >&2
	if [ "$may_skip" = yes ]; then
		return 0
	fi
	return 1
}

race() {
	if ! debian gcc gcc; then
		skip race "there is no C compiler (install gcc)"
		return
	fi
	packages=$(go list ./... | grep -v -e /chainclient -e /devchain -e /cmd/ -e /testnet -e /examples/)
	# shellcheck disable=SC2086 # one argument a package
	CGO_ENABLED=1 go test -race $packages
}

# The chain client's targets need minutes to build with coverage.
fuzz() {
	grep -rl '^func Fuzz' --include='*_test.go' . | grep -v chainclient | sort | while read -r file; do
		package=$(dirname "$file")
		sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$file" | while read -r target; do
			echo "$package $target"
			go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime 15s -fuzzminimizetime 10x
		done || return 1
	done || return 1
}

# EXECUTIONS=1000000 is the long run, of five to ten minutes; SEED=N begins with
# other modules.
differential() {
	go test ./exec/module -run '^TestDifferential$' -v -timeout 2h -executions "${EXECUTIONS:-200000}" -seed "${SEED:-0}"
}

power() {
	if [ "$(id -u)" != 0 ] || ! debian mkfs.ext4 e2fsprogs || ! debian mount mount; then
		skip store-power "it mounts file systems (run it as root, install e2fsprogs and mount)"
		return
	fi
	go test ./store -run '^TestPowerLoss$' -v -count=1 -timeout 30m -power-losses "${LOSSES:-60}"
}

arm64() {
	if ! debian qemu-aarch64-static qemu-user-static; then
		skip arm64 "there is no emulator (install qemu-user-static)"
		return
	fi
	dir=$(mktemp -d)
	status=0
	arm64_in "$dir" || status=$?
	rm -rf "$dir"
	return "$status"
}

# The first test compares with golden files; the second writes what the
# contracts did, here and there.
arm64_in() {
	for example in loan payment appraisal; do
		GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -buildvcs=false "-ldflags=-s -w -buildid=" -o "$1/$example.wasm" "./examples/$example" || return 1
	done
	GOARCH=arm64 CGO_ENABLED=0 go test -c -o "$1/module.test" ./exec/module || return 1
	GOARCH=arm64 CGO_ENABLED=0 go test -c -o "$1/exec.test" ./exec || return 1
	(cd exec/module && qemu-aarch64-static "$1/module.test" -test.v -test.run '^(TestCorpus|TestFuelIsExact|TestDifferential)$' -executions 500) || return 1
	go test ./exec -count=1 -run '^TestProcesses$' -modules "$1" -report "$1/here" || return 1
	(cd exec && qemu-aarch64-static "$1/exec.test" -test.run '^TestProcesses$' -modules "$1" -report "$1/arm64") || return 1
	cmp "$1/here" "$1/arm64" && echo "the examples did the same: $(sha256sum <"$1/arm64")"
}

guests() {
	status=0
	exec/testdata/guests/build.sh --check || status=$?
	if [ "$status" = 3 ]; then
		skip guests "a compiler is missing (see above)"
		return
	fi
	return "$status"
}

lint() {
	if [ ! -x "$root/.cache/bin/golangci-lint-$golangci" ]; then
		echo "building golangci-lint $golangci" >&2
		GOBIN="$root/.cache/bin" go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$golangci"
		mv "$root/.cache/bin/golangci-lint" "$root/.cache/bin/golangci-lint-$golangci"
	fi
	"$root/.cache/bin/golangci-lint-$golangci" run ./...
}

run() {
	case "$1" in
	kill | gossip | restore) ./scripts/testnet.sh suite "$1" ;;
	store-kill) go test ./store -run '^TestKill$' -v -count=1 -timeout 30m -kills "${KILLS:-200}" ;;
	store-power) power ;;
	validators4) ./scripts/testnet.sh --validators 4 ;;
	affiliates5) ./scripts/testnet.sh --affiliates 5 ;;
	life-cycle) go test ./agreement -run Ends -timeout 2h -rapid.checks="${WORLDS:-200000}" -rapid.seed="${SEED:-1}" ;;
	fuzz) fuzz ;;
	race) race ;;
	lint) lint ;;
	differential) differential ;;
	processes) go test ./exec -run '^TestProcesses$' -v -timeout 30m -processes 200 ;;
	arm64) arm64 ;;
	guests) guests ;;
	generate) ./scripts/generate.sh --check ;;
	*)
		echo "there is no suite $1; these are:" >&2
		list >&2
		return 2
		;;
	esac
}

may_skip=no
names=
for arg in "$@"; do
	case "$arg" in
	--may-skip) may_skip=yes ;;
	-h | --help)
		list
		exit 0
		;;
	-*)
		echo "usage: suite.sh [--may-skip] [NAME…]" >&2
		exit 2
		;;
	*) names="$names $arg" ;;
	esac
done
if [ -z "$names" ]; then
	list
	exit 0
fi

failed=
for name in $names; do
	echo "== suite $name"
	# A command whose status is tested doesn't stop the script (set -e).
	if run "$name"; then
		echo "== suite $name passed"
	else
		echo "== suite $name FAILED" >&2
		failed="$failed $name"
	fi
done
if [ -n "$failed" ]; then
	echo "failed:$failed" >&2
	exit 1
fi
