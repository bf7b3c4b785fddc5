#!/bin/sh
# Rebuild the objects of this directory: clang 19 or newer and bpftool.
set -eu
cd "$(dirname "$0")"
for source in everything static_program half_one half_two core_local core_target; do
	"${CLANG:-clang-19}" -g -O2 -target bpf -mcpu=v3 -Wall -Wno-unused-const-variable \
		-fdebug-compilation-dir=. -c "$source.bpf.c" -o "$source.bpf.o"
	"${STRIP:-llvm-strip-19}" -g "$source.bpf.o"
done
bpftool gen object linked.bpf.o half_one.bpf.o half_two.bpf.o
rm half_one.bpf.o half_two.bpf.o
