#!/bin/sh
# bpf/build.sh OUTDIR: compiles every bpf/*.bpf.c to OUTDIR/NAME.bpf.o, and to OUTDIR/NAME.kern-ctx.bpf.o for kernels that let programs at tc load from their own
# sk_buff (bpf_cast_to_kern_ctx). A weak symbol in one object would not do: to find that a kernel lacks it libbpf asks for all modules' BTF, which needs CAP_SYS_ADMIN.
# DWARF is stripped, BTF and its CO-RE relocations stay: they are what makes one object run on many kernels.
set -eu

[ $# -eq 1 ] || { echo "usage: bpf/build.sh OUTDIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"

case "$(uname -m)" in
x86_64) arch=x86 ;;
aarch64) arch=arm64 ;;
*) echo "bpf/build.sh: no target for $(uname -m)" >&2; exit 1 ;;
esac

# compile SOURCE OBJECT FLAG…
compile() {
	source=$1
	object=$2
	shift 2
	# Built beside and renamed, so that an agent that starts now never reads half an object.
	clang -g -O2 -target bpf -mcpu=v3 "-D__TARGET_ARCH_$arch" -Wall -Wextra -Werror -Wno-unused-parameter "$@" \
		-I "$here" -I "/usr/include/$(uname -m)-linux-gnu" -c "$source" -o "$object.$$"
	llvm-strip -g "$object.$$"
	mv "$object.$$" "$object"
}

built=0
for source in "$here"/*.bpf.c; do
	[ -e "$source" ] || break
	name=$(basename "$source" .bpf.c)
	compile "$source" "$out/$name.bpf.o" &
	compile "$source" "$out/$name.kern-ctx.bpf.o" -DKTRACE_KERN_CTX
	wait $!
	built=$((built + 1))
done
[ "$built" -gt 0 ] || { echo "bpf/build.sh: no bpf/*.bpf.c to compile" >&2; exit 1; }
