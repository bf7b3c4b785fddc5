// SPDX-License-Identifier: GPL-2.0-only
/* Linked with half_one by `bpftool gen object`. */
#include "mini.h"

const volatile u32 limit_two = 1;
u32 state_two = 1;

__weak __noinline int shared(u32 x)
{
	return x;
}

static __noinline int helper(u32 x)
{
	return shared(x) + limit_two + state_two;
}

SEC("struct_ops/enqueue")
void enqueue_two(u64 *ctx)
{
	state_two = helper(ctx[1]);
}

SEC(".struct_ops.link")
struct sched_ext_ops ops_two = {
	.enqueue = (void *)enqueue_two,
	.name = "two",
};
