#!/bin/sh
# Rebuilds the checked-in modules of the guests from their sources. With
# --check it changes nothing, and fails if they are not what comes out. The
# guests in Go aren't checked in: tests build them.
# It installs Debian packages for tools that are missing, and AssemblyScript
# from npm into a temporary directory. Status 3: a tool can't be had.
set -eu
built_with="Debian 12: clang and lld 14.0.6, wabt 1.0.32"
assemblyscript=0.27.37
long=5.3.2 # what it depends on; its other dependency is pinned by itself

cd "$(dirname "$0")"

# debian COMMAND PACKAGE installs a Debian package for a command that is missing.
debian() {
	if command -v "$1" >/dev/null 2>&1; then
		return 0
	fi
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		echo "installing the Debian package $2" >&2
		if { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"; } >&2; then
			return 0
		fi
	fi
	echo "the guests need $1: install the Debian package $2" >&2
	exit 3
}

# c SOURCE MODULE. Debian's clang knows wasm32 without a library. -mcpu=mvp
# keeps out what newer compilers turn on by themselves and a host may refuse.
c() {
	clang --target=wasm32 -mcpu=mvp -mbulk-memory -msign-ext -O2 -nostdlib -ffreestanding \
		-Wall -Wextra -Wno-unused-parameter -Wl,--no-entry,--stack-first,--strip-all -o "$2" "$1"
	chmod a-x "$2" # the linker takes it for a program of this machine
}

asc() {
	"$tools/node_modules/.bin/asc" "$1" -O --use abort= --exportStart _initialize -o "$2"
}

wat() {
	wat2wasm "$1" -o "$2"
}

# build DIRECTORY puts every module where its source is, below the directory.
build() {
	mkdir -p "$1/quote-c" "$1/quote-as" "$1/quote-wat" "$1/bench-c"
	c quote-c/quote.c "$1/quote-c/quote.wasm"
	c bench-c/bench.c "$1/bench-c/bench.wasm"
	asc quote-as/quote.ts "$1/quote-as/quote.wasm"
	wat quote-wat/quote.wat "$1/quote-wat/quote.wasm"
}

case "${1:-}" in
"" | --check) ;;
*)
	echo "usage: build.sh [--check]" >&2
	exit 2
	;;
esac

debian clang clang
debian wasm-ld lld
debian wat2wasm wabt
debian node nodejs
debian npm npm
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
if ! npm install --prefix "$tools" --no-audit --no-fund --ignore-scripts --silent "assemblyscript@$assemblyscript" "long@$long" >&2; then
	echo "the guests need AssemblyScript $assemblyscript, which npm can't install" >&2
	exit 3
fi

if [ -z "${1:-}" ]; then
	build .
	exit 0
fi
build "$tools/fresh"
bad=
for module in $(cd "$tools/fresh" && echo */*.wasm); do
	if ! cmp "$tools/fresh/$module" "$module" >&2; then
		bad="$bad $module"
	fi
done
if [ -n "$bad" ]; then
	cat >&2 <<-MESSAGE
		not what their sources give:$bad
		They were built with $built_with, AssemblyScript $assemblyscript.
		Here are $(clang --version | head -n 1), $(wasm-ld --version), wabt $(wat2wasm --version).
		With the same versions, a source was changed: run exec/testdata/guests/build.sh. With others, the
		compilers may differ: rebuild with these and state them in build.sh, if go test ./exec still passes.
	MESSAGE
	exit 1
fi
