/* SPDX-License-Identifier: GPL-2.0-only */
/* What the objects beside this file need; nothing of it is a kernel's real layout. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
#define __noinline __attribute__((noinline))
#define __core __attribute__((preserve_access_index))
#define __exception_cb(name) __attribute__((btf_decl_tag("exception_callback:" #name)))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

static long (*const bpf_loop)(u32 n, void *callback, void *ctx, u64 flags) = (void *)181;
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;

struct task_struct {
	int pid;
	struct {
		u64 slice;
	} scx;
} __core;

struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	s32 (*init)(void);
	u32 dispatch_max_batch;
	u64 flags;
	char name[16];
};

char _license[] SEC("license") = "GPL";
