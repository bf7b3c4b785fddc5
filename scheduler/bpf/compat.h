/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One source for Linux 6.12 to 7.3: kfuncs under every name they have had, all
 * weak, and the choice between them made where the kernel's BTF is known. The
 * loader zeroes a name the kernel lacks, and the verifier never walks the
 * branch behind it.
 *
 * libbpf drops what follows the last "___" of an extern's name. The kernel's
 * own "..._v2" names contain one and so need a second.
 */
#ifndef TIERS_COMPAT_H
#define TIERS_COMPAT_H

/*
 * Constants whose value may differ between kernels, or that a kernel may lack
 * (then 0). The loader fills them from the enum of the same name, without the
 * leading underscores, in the kernel's BTF.
 */
const volatile u64 __SCX_DSQ_GLOBAL;
const volatile u64 __SCX_DSQ_LOCAL;
const volatile u64 __SCX_SLICE_DFL;
const volatile u64 __SCX_ENQ_WAKEUP;
const volatile u64 __SCX_ENQ_HEAD;
const volatile u64 __SCX_ENQ_PREEMPT;
const volatile u64 __SCX_KICK_IDLE;
const volatile u64 __SCX_KICK_PREEMPT;
const volatile u64 __SCX_TASK_QUEUED;

#define SCX_DSQ_GLOBAL __SCX_DSQ_GLOBAL
#define SCX_DSQ_LOCAL __SCX_DSQ_LOCAL
#define SCX_SLICE_DFL __SCX_SLICE_DFL
#define SCX_ENQ_WAKEUP __SCX_ENQ_WAKEUP
#define SCX_ENQ_HEAD __SCX_ENQ_HEAD
#define SCX_ENQ_PREEMPT __SCX_ENQ_PREEMPT
#define SCX_KICK_IDLE __SCX_KICK_IDLE
#define SCX_KICK_PREEMPT __SCX_KICK_PREEMPT
#define SCX_TASK_QUEUED __SCX_TASK_QUEUED

/* The same name on every kernel. */
extern void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym;
extern s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
				  bool *is_idle) __ksym;
extern s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) __ksym;
extern s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;

extern int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags) __ksym;
extern struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
extern void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;

extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;
extern bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *cpumask) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;

/*
 * On every kernel; but some 7.1 and 7.2 packages describe them so that libbpf
 * cannot match them, and fifo can do without.
 */
extern s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym __weak;
extern s32 scx_bpf_dsq_nr_queued(u64 dsq_id) __ksym __weak;
extern bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __ksym __weak;

/* Up to 6.16 under the first name, from 6.13 under the second. */
extern void scx_bpf_dispatch(struct task_struct *p, u64 dsq_id, u64 slice,
			     u64 enq_flags) __ksym __weak;
extern void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice,
			       u64 enq_flags) __ksym __weak;

extern void scx_bpf_dispatch_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
				   u64 enq_flags) __ksym __weak;
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
				     u64 enq_flags) __ksym __weak;

extern bool scx_bpf_consume(u64 dsq_id) __ksym __weak;
extern bool scx_bpf_dsq_move_to_local(u64 dsq_id) __ksym __weak;

extern bool scx_bpf_dispatch_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p,
				      u64 dsq_id, u64 enq_flags) __ksym __weak;
extern bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
			     u64 enq_flags) __ksym __weak;

extern void scx_bpf_dispatch_from_dsq_set_slice(struct bpf_iter_scx_dsq *it, u64 slice) __ksym __weak;
extern void scx_bpf_dsq_move_set_slice(struct bpf_iter_scx_dsq *it, u64 slice) __ksym __weak;

/* From 6.19 on; before, the field is written. */
extern bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __ksym __weak;

/* From cpu_release only; from 6.19 on the second, from anywhere. */
extern u32 scx_bpf_reenqueue_local(void) __ksym __weak;
extern void scx_bpf_reenqueue_local___v2___compat(void) __ksym __weak;

static __always_inline void insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert))
		scx_bpf_dsq_insert(p, dsq_id, slice, enq_flags);
	else
		scx_bpf_dispatch(p, dsq_id, slice, enq_flags);
}

static __always_inline void insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
					 u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime))
		scx_bpf_dsq_insert_vtime(p, dsq_id, slice, vtime, enq_flags);
	else
		scx_bpf_dispatch_vtime(p, dsq_id, slice, vtime, enq_flags);
}

static __always_inline bool move_to_local(u64 dsq_id)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local))
		return scx_bpf_dsq_move_to_local(dsq_id);
	return scx_bpf_consume(dsq_id);
}

static __always_inline bool move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
				 u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move))
		return scx_bpf_dsq_move(it, p, dsq_id, enq_flags);
	return scx_bpf_dispatch_from_dsq(it, p, dsq_id, enq_flags);
}

static __always_inline void move_set_slice(struct bpf_iter_scx_dsq *it, u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_set_slice))
		scx_bpf_dsq_move_set_slice(it, slice);
	else
		scx_bpf_dispatch_from_dsq_set_slice(it, slice);
}

static __always_inline void set_slice(struct task_struct *p, u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_task_set_slice))
		scx_bpf_task_set_slice(p, slice);
	else
		p->scx.slice = slice;
}

#define TIERS_OPS(name, args...) SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define TIERS_OPS_SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)

#endif
