// SPDX-License-Identifier: GPL-2.0-only
/* What libbpf refuses: a static program, a map that sets a member to a subprogram. */
#include "mini.h"

static SEC("syscall") int forgotten(void *ctx)
{
	return 1;
}

void subprogram(u64 *ctx)
{
}

SEC(".struct_ops.link")
struct sched_ext_ops wrong_ops = {
	.enqueue = (void *)subprogram,
};
