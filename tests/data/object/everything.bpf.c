// SPDX-License-Identifier: GPL-2.0-only
/* One of everything the reader tells apart. */
#include "mini.h"

struct rq;

extern void kfunc_strong(struct task_struct *p, u64 flags) __ksym;
extern void kfunc_weak___v2___compat(struct task_struct *p) __ksym __weak;
extern const struct rq runqueues __ksym;
extern const void some_symbol __ksym __weak;
extern int LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_X __kconfig __weak;

struct {
	__uint(type, 2);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

const volatile u64 slice_ns = 20000000;
static const volatile u32 static_limit = 7;
u64 counter = 3;
static u64 static_counter = 5;
u64 zeroed[2];
u64 in_own_section SEC(".data.own") = 9;

static __noinline int sub_static(u64 x)
{
	return x + static_limit + LINUX_KERNEL_VERSION;
}

__noinline int sub_global(u64 x)
{
	return sub_static(x) + 1;
}

__hidden __noinline int sub_hidden(u64 x)
{
	return sub_static(x) + 2;
}

static int step_static(u32 index, void *ctx)
{
	static_counter += index;
	return 0;
}

int step_global(u32 index, void *ctx)
{
	counter += index;
	return 0;
}

__noinline int on_exception(u64 cookie)
{
	return cookie;
}

SEC("struct_ops/enqueue")
void enqueue(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	u32 key = 0;
	u64 *count = bpf_map_lookup_elem(&counts, &key);

	if (count)
		*count += slice_ns;
	zeroed[1] += in_own_section + p->scx.slice;
	if (kfunc_weak___v2___compat)
		kfunc_weak___v2___compat(p);
	kfunc_strong(p, (u64)&some_symbol + (u64)&runqueues);
}

SEC("struct_ops/select_cpu")
s32 select_cpu(u64 *ctx)
{
	bpf_loop(sub_global(ctx[2]), step_static, 0, 0);
	bpf_loop(sub_hidden(CONFIG_X), step_global, 0, 0);
	return sub_static(ctx[1]);
}

SEC("?struct_ops.s/init")
s32 init(u64 *ctx)
{
	return 0;
}

SEC("?struct_ops/unused")
void unused(u64 *ctx)
{
}

SEC("struct_ops/orphan")
void orphan(u64 *ctx)
{
}

SEC("syscall") __exception_cb(on_exception)
int throwing(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_switch")
int tracing(u64 *ctx)
{
	return 0;
}

SEC("nonsense/x")
int unknown_kind(void *ctx)
{
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops main_ops = {
	.select_cpu = (void *)select_cpu,
	.enqueue = (void *)enqueue,
	.init = (void *)init,
	.flags = 0x20,
	.name = "main",
};

SEC(".struct_ops.link")
struct sched_ext_ops second_ops = {
	.enqueue = (void *)enqueue,
	.dispatch_max_batch = 8,
};

SEC("?.struct_ops")
struct sched_ext_ops optional_ops = {
	.enqueue = (void *)orphan,
};
