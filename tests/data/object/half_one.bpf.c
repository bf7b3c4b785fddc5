// SPDX-License-Identifier: GPL-2.0-only
/* Linked with half_two by `bpftool gen object`. */
#include "mini.h"

const volatile u32 limit_one = 1;
u32 state_one = 1;

__weak __noinline int shared(u32 x)
{
	return x;
}

static __noinline int helper(u32 x)
{
	return shared(x) + limit_one + state_one;
}

SEC("struct_ops/enqueue")
void enqueue_one(u64 *ctx)
{
	state_one = helper(ctx[1]);
}

SEC(".struct_ops.link")
struct sched_ext_ops ops_one = {
	.enqueue = (void *)enqueue_one,
	.name = "one",
};
