/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scx_tiers: a sched_ext scheduler in four modes, each its own struct_ops map.
 *
 *   fifo_ops        one global DSQ
 *   throughput_ops  four levels, a DSQ per level and LLC
 *   deadline_ops    earliest deadline first, levels behind
 *   user_ops        decisions come from user space
 *
 * The order of lanes, and aging against starvation, are those of the policy
 * library in src/policy.
 */
#include "types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "compat.h"
#include "intf.h"

char _license[] SEC("license") = "GPL";

#define ENOMEM 12
#define ENOENT 2
#define CLOCK_MONOTONIC 1

/* ---- Settings: written by the loader before the object is loaded. ---- */

const volatile u32 nr_cpus = 1;
const volatile u32 nr_online_cpus = 1;
const volatile u32 nr_llcs = 1;
const volatile u32 cpu_llc[MAX_CPUS];
/* Holds as long as the scheduler does: the kernel ends it when a CPU goes or
 * comes. One that is coming does not dispatch yet, and whoever brings it up
 * must not wait for it. */
const volatile bool cpu_online[MAX_CPUS];
const volatile u64 slice_ns = 20000000;
const volatile bool level_from_cgroup;
const volatile bool have_rules;
const volatile u64 level_deadline_ns[LEVELS];
/* Being passed over this often entitles a lane to a turn; src/policy/lanes.rs. */
const volatile u32 aging_limit[LANES] = {32, 16, 8, 4, 0xffffffff};
const volatile s32 user_tgid;
const volatile u64 stall_ns = 500000000;

/* ---- State. ---- */

static u64 stall_checked_at;
static u32 overdue_looked_at;
/* User mode: when the last round had ended that user space finished before it
 * was found to be stalled. */
static u64 stalled_since;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct exit_record);
} exit_records SEC(".maps");

struct task_ctx {
	u64 woken_at;		/* 0 once it ran */
	u64 enqueued_at;
	u64 deadline;		/* absolute; 0: none */
	u64 relative_deadline;
	u64 cgroup;
	u32 level;
	bool missed;		/* this job's miss has been counted */
	bool aged;		/* its turn is an aged one: not preempted */
	bool parked;		/* waits for user space */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Aging, as in src/policy/lanes.rs. CPUs of one LLC share it without a lock:
 * a lost update delays a turn or gives one twice, and nothing else. */
struct lanes {
	u64 passed[LANES];
	u64 last_served[LANES];
	u64 selections;
	u64 last_was_aged;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_LLCS);
	__type(key, u32);
	__type(value, struct lanes);
} llc_lanes SEC(".maps");

/* What each CPU runs, for preemption. */
struct cpu_state {
	u64 deadline;
	u32 level;
	u32 look_at;		/* the LLC to look at next, beside its own */
	bool busy;
	bool protected;
	bool next_is_aged;
	bool overhead;		/* it runs the user-space scheduler itself */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CPUS);
	__type(key, u32);
	__type(value, struct cpu_state);
} cpu_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__type(key, struct comm_key);
	__type(value, struct rule);
} comm_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__type(key, s32);
	__type(value, struct rule);
} tgid_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CGROUPS);
	__type(key, u64);
	__type(value, u32);
} cgroup_weights SEC(".maps");

static __always_inline struct task_ctx *ctx_of(struct task_struct *p)
{
	return bpf_task_storage_get(&task_ctxs, p, NULL, 0);
}

static __always_inline struct counters *count(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

#define COUNT(field)                                                                               \
	do {                                                                                       \
		struct counters *__counters = count();                                             \
		if (__counters)                                                                    \
			__counters->field++;                                                       \
	} while (0)

/* The level is read once: the verifier must see the value that was bounded. */
#define COUNT_LEVEL(field, level)                                                                  \
	do {                                                                                       \
		struct counters *__counters = count();                                             \
		u32 __level = *(volatile u32 *)&(level);                                           \
		if (__counters && __level < LEVELS)                                                \
			__counters->field[__level]++;                                              \
	} while (0)

static __always_inline u32 llc_of(s32 cpu)
{
	u32 at = cpu, llc;

	if (at >= MAX_CPUS)
		return 0;
	/* The bound in a form that survives a spill between check and use. */
	asm volatile("" : "+r"(at));
	llc = cpu_llc[at & (MAX_CPUS - 1)];
	return llc < MAX_LLCS ? llc : 0;
}

static __always_inline bool is_online(s32 cpu)
{
	u32 at = cpu;

	if (at >= nr_cpus || at >= MAX_CPUS)
		return false;
	asm volatile("" : "+r"(at));
	return cpu_online[at & (MAX_CPUS - 1)];
}

static __always_inline u64 lane_dsq(u32 llc, u32 lane)
{
	return (u64)llc * LANES + lane;
}

/* ---- Levels: an explicit rule, else the cgroup's weight, else nice. ---- */

static __always_inline u32 level_of_nice(int static_prio)
{
	int nice = static_prio - 120;

	if (nice <= -10)
		return 3;
	if (nice < 0)
		return 2;
	return nice < 10 ? 1 : 0;
}

static __always_inline u32 level_of_weight(u32 weight)
{
	if (weight >= 1000)
		return 3;
	if (weight >= 200)
		return 2;
	return weight >= 50 ? 1 : 0;
}

static __always_inline const struct rule *rule_of(struct task_struct *p)
{
	struct comm_key key = {};
	s32 tgid = p->tgid;
	const struct rule *rule;

	rule = bpf_map_lookup_elem(&tgid_rules, &tgid);
	if (rule)
		return rule;
	bpf_probe_read_kernel_str(key.comm, sizeof(key.comm), p->comm);
	return bpf_map_lookup_elem(&comm_rules, &key);
}

/* Rules are looked up each time: comm changes with exec and no callback tells. */
static __always_inline void classify(struct task_struct *p, struct task_ctx *tctx)
{
	const struct rule *rule = have_rules ? rule_of(p) : NULL;
	u32 level = level_of_nice(p->static_prio);
	u64 relative = 0;
	bool for_all = p->flags & PF_KTHREAD;

	/* What RCU and the workqueues do, others wait for. */
	if (for_all)
		level = LEVELS - 1;
	if (level_from_cgroup && !for_all) {
		u32 *weight = bpf_map_lookup_elem(&cgroup_weights, &tctx->cgroup);

		if (weight)
			level = level_of_weight(*weight);
	}
	if (rule) {
		if (rule->level < LEVELS)
			level = rule->level;
		relative = rule->deadline_ns;
	}
	if (level >= LEVELS)
		level = 0;
	tctx->level = level;
	tctx->relative_deadline = relative ?: level_deadline_ns[level];
}

/* ---- Lanes. ---- */

static __always_inline s32 starved_lane(struct lanes *lanes, const u64 *pending, s32 top)
{
	s32 found = -1;

	for (s32 lane = 0; lane < LANES; lane++) {
		if (lane >= top || !pending[lane] || lanes->passed[lane] < aging_limit[lane])
			continue;
		if (found < 0 || lanes->last_served[lane] < lanes->last_served[found])
			found = lane;
	}
	return found;
}

static __always_inline void book(struct lanes *lanes, const u64 *pending, s32 served)
{
	lanes->selections++;
	for (s32 lane = 0; lane < LANES; lane++) {
		if (lane == served) {
			lanes->passed[lane] = 0;
			lanes->last_served[lane] = lanes->selections;
		} else if (!pending[lane]) {
			lanes->passed[lane] = 0;
		} else {
			lanes->passed[lane] += 1 + pending[lane] / 8;
		}
	}
}

/* The absolute deadline of the first task in the deadline lane; 0: none. */
static __always_inline u64 first_deadline(u32 llc)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	u64 deadline = 0;

	if (!bpf_iter_scx_dsq_new(&it, lane_dsq(llc, DEADLINE_LANE), 0)) {
		p = bpf_iter_scx_dsq_next(&it);
		if (p) {
			struct task_ctx *tctx = ctx_of(p);

			if (tctx)
				deadline = tctx->deadline;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return deadline;
}

enum served {
	SERVED_NOTHING,
	SERVED_MOVED,	/* a task of the lanes runs next */
	SERVED_PREV,	/* the task that ran goes on */
};

/*
 * Selects what runs next on this CPU from this LLC's lanes and the task that
 * ran until now. That one is on no lane yet: the kernel enqueues it after
 * dispatch. It comes after all tasks of its own lane, and before lower lanes.
 */
static enum served serve(u32 llc, s32 cpu, s32 prev_lane, u64 prev_deadline)
{
	u64 pending[LANES] = {};
	struct lanes *lanes;
	struct cpu_state *state;
	u32 at = cpu;
	s32 top = -1, aged = -1;

	lanes = bpf_map_lookup_elem(&llc_lanes, &llc);
	state = bpf_map_lookup_elem(&cpu_states, &at);
	if (!lanes || !state)
		return SERVED_NOTHING;
	for (s32 lane = 0; lane < LANES; lane++) {
		s32 queued = scx_bpf_dsq_nr_queued(lane_dsq(llc, lane));

		if (queued > 0) {
			pending[lane] = queued;
			top = lane;
		}
	}
	if (top < 0)
		return prev_lane < 0 ? SERVED_NOTHING : SERVED_PREV;

	if (!lanes->last_was_aged)
		aged = starved_lane(lanes, pending, top > prev_lane ? top : prev_lane);
	lanes->last_was_aged = aged >= 0;
	if (aged >= 0 && move_to_local(lane_dsq(llc, aged))) {
		book(lanes, pending, aged);
		state->next_is_aged = true;
		COUNT(aged);
		COUNT(dispatched[aged]);
		return SERVED_MOVED;
	}
	if (prev_lane > top || (prev_lane == DEADLINE_LANE && top == DEADLINE_LANE &&
				first_deadline(llc) > prev_deadline)) {
		book(lanes, pending, prev_lane);
		return SERVED_PREV;
	}
	/* A lane may hold only tasks that this CPU may not run: try the next. */
	for (s32 lane = LANES - 1; lane >= 0; lane--) {
		if (lane < prev_lane)
			break;
		if (pending[lane] && move_to_local(lane_dsq(llc, lane))) {
			book(lanes, pending, lane);
			COUNT(dispatched[lane]);
			return SERVED_MOVED;
		}
	}
	return prev_lane < 0 ? SERVED_NOTHING : SERVED_PREV;
}

static __always_inline bool is_runnable(struct task_struct *p)
{
	return p && (p->scx.flags & SCX_TASK_QUEUED);
}

/* The task goes on with a new slice. */
static __always_inline void keep(struct task_struct *prev, s32 cpu)
{
	u32 at = cpu;
	struct cpu_state *state = bpf_map_lookup_elem(&cpu_states, &at);

	set_slice(prev, slice_ns);
	COUNT(kept);
	if (state)
		state->protected = false;
}

/* The CPU that runs the least urgent task, if less urgent than ours: in the
 * LLC of `cpu`, or outside it. Sixteen CPUs are looked at. */
static __always_inline s32 victim(struct task_struct *p, struct task_ctx *tctx, s32 cpu, bool edf,
				  bool inside)
{
	u32 llc = llc_of(cpu), worst_level = tctx->level;
	u64 worst_deadline = edf ? tctx->deadline : 0;
	bool by_deadline = worst_deadline;
	s32 found = -1, i;

	bpf_for(i, 0, 16) {
		u32 at = (u32)cpu + i;
		struct cpu_state *state;

		if (at >= nr_cpus)
			at -= nr_cpus;
		if (at >= nr_cpus || at >= MAX_CPUS)
			break;
		if (i && at == (u32)cpu)
			break;
		if ((llc_of(at) == llc) != inside || !bpf_cpumask_test_cpu(at, p->cpus_ptr))
			continue;
		state = bpf_map_lookup_elem(&cpu_states, &at);
		if (!state || !state->busy || state->protected)
			continue;
		if (edf && state->deadline) {
			/* A later deadline gives way to an earlier one only. */
			if (!by_deadline || !worst_deadline || state->deadline <= worst_deadline)
				continue;
			worst_deadline = state->deadline;
			found = at;
			continue;
		}
		if (by_deadline) {
			/* No deadline at all gives way to any. */
			found = at;
			break;
		}
		if (state->level < worst_level) {
			worst_level = state->level;
			found = at;
		}
	}
	return found;
}

/* At its next dispatch the CPU looks at this LLC, too. */
static __always_inline void look_at(s32 cpu, u32 llc)
{
	u32 at = cpu;
	struct cpu_state *state = bpf_map_lookup_elem(&cpu_states, &at);

	if (state)
		state->look_at = llc;
}

/* After an insert into a shared DSQ: wake an idle CPU, or preempt for a waker. */
static __always_inline void make_room(struct task_struct *p, struct task_ctx *tctx, u64 enq_flags,
				      bool edf)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0), home;

	if (cpu >= 0) {
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
		return;
	}
	if (!(enq_flags & SCX_ENQ_WAKEUP))
		return;
	home = scx_bpf_task_cpu(p);
	cpu = victim(p, tctx, home, edf, true);
	if (cpu < 0 && nr_llcs > 1) {
		cpu = victim(p, tctx, home, edf, false);
		look_at(cpu, llc_of(home));
	}
	if (cpu >= 0) {
		COUNT(preempted);
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
	}
}

/* The kernel's own per-CPU threads run next on their CPU in every mode. */
static __always_inline bool is_percpu_kthread(struct task_struct *p)
{
	return (p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1;
}

/* ---- Callbacks the modes share. ---- */

/* Prefers the previous CPU, then its LLC; an idle one gets the task at once. */
s32 TIERS_OPS(tiers_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);

	if (is_idle) {
		struct task_ctx *tctx = ctx_of(p);

		if (tctx)
			COUNT_LEVEL(direct, tctx->level);
		insert(p, SCX_DSQ_LOCAL, slice_ns, 0);
	}
	return cpu;
}

s32 TIERS_OPS_SLEEPABLE(tiers_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx;

	tctx = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!tctx)
		return -ENOMEM;
	if (bpf_core_field_exists(args->cgroup))
		tctx->cgroup = BPF_CORE_READ(args, cgroup, kn, id);
	return 0;
}

void TIERS_OPS(tiers_enable, struct task_struct *p)
{
	struct task_ctx *tctx = ctx_of(p);

	if (tctx)
		classify(p, tctx);
}

void TIERS_OPS(tiers_set_weight, struct task_struct *p, u32 weight)
{
	struct task_ctx *tctx = ctx_of(p);

	if (tctx)
		classify(p, tctx);
}

void TIERS_OPS(tiers_runnable, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = ctx_of(p);

	if (!tctx)
		return;
	tctx->woken_at = bpf_ktime_get_ns();
	tctx->missed = false;
	if (have_rules)
		classify(p, tctx);
	tctx->deadline = tctx->relative_deadline ? tctx->woken_at + tctx->relative_deadline : 0;
}

/* The first power of two above: 0 for 0, 1 for 1, 2 for 2 and 3, ... */
static __always_inline u32 bucket_of(u64 us)
{
	u32 left = us > 0x7fffffff ? 0x7fffffff : us, bucket = left ? 1 : 0;

	for (u32 half = 16; half; half /= 2) {
		u32 big = left >> half ? half : 0;

		left >>= big;
		bucket += big;
	}
	return bucket;
}

static __always_inline void record_latency(struct task_ctx *tctx)
{
	u32 bucket = bucket_of((bpf_ktime_get_ns() - tctx->woken_at) / 1000);
	struct counters *counters = count();
	u32 level = *(volatile u32 *)&tctx->level;

	if (counters && level < LEVELS && bucket < LATENCY_BUCKETS)
		counters->latency[level][bucket]++;
}

void TIERS_OPS(tiers_running, struct task_struct *p)
{
	struct task_ctx *tctx = ctx_of(p);
	u32 cpu = scx_bpf_task_cpu(p);
	struct cpu_state *state = bpf_map_lookup_elem(&cpu_states, &cpu);

	if (!tctx || !state)
		return;
	if (tctx->woken_at) {
		record_latency(tctx);
		tctx->woken_at = 0;
	}
	tctx->parked = false;
	state->level = tctx->level;
	state->deadline = tctx->deadline;
	/* A turn given by aging is not cut short, so it is short. */
	if (state->next_is_aged)
		set_slice(p, slice_ns / 4);
	state->protected = state->next_is_aged || is_percpu_kthread(p);
	state->next_is_aged = false;
	state->overhead = p->tgid == user_tgid;
	state->busy = true;
}

/* A job is what a task does from waking to sleeping. */
static __always_inline void job_done(struct task_ctx *tctx)
{
	if (!tctx->deadline)
		return;
	if (tctx->missed)
		return;
	if (bpf_ktime_get_ns() > tctx->deadline)
		COUNT(deadlines_missed);
	else
		COUNT(deadlines_met);
}

void TIERS_OPS(tiers_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = ctx_of(p);
	u32 cpu = scx_bpf_task_cpu(p);
	struct cpu_state *state = bpf_map_lookup_elem(&cpu_states, &cpu);

	if (state)
		state->busy = false;
	if (tctx && !runnable)
		job_done(tctx);
}

/* Up to 6.18: a higher class took the CPU; what waits there goes elsewhere. */
void TIERS_OPS(tiers_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	if (bpf_ksym_exists(scx_bpf_reenqueue_local))
		scx_bpf_reenqueue_local();
}

/* From 6.19 on, where ops.cpu_release is deprecated: the same, seen from the
 * switch to a task of a higher class. */
SEC("?tp_btf/sched_switch")
int BPF_PROG(tiers_sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	enum { FIFO = 1, RR = 2, DEADLINE = 6 };
	u32 policy = next->policy;

	if (policy != FIFO && policy != RR && policy != DEADLINE)
		return 0;
	if (bpf_ksym_exists(scx_bpf_reenqueue_local___v2___compat))
		scx_bpf_reenqueue_local___v2___compat();
	return 0;
}

s32 TIERS_OPS_SLEEPABLE(tiers_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	u64 id = cgrp->kn->id;
	u32 weight = args->weight;

	/* A full map leaves the level to nice. */
	bpf_map_update_elem(&cgroup_weights, &id, &weight, BPF_ANY);
	return 0;
}

void TIERS_OPS_SLEEPABLE(tiers_cgroup_exit, struct cgroup *cgrp)
{
	u64 id = cgrp->kn->id;

	bpf_map_delete_elem(&cgroup_weights, &id);
}

void TIERS_OPS(tiers_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct task_ctx *tctx = ctx_of(p);

	if (!tctx)
		return;
	tctx->cgroup = to->kn->id;
	classify(p, tctx);
}

void TIERS_OPS(tiers_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	u64 id = cgrp->kn->id;

	bpf_map_update_elem(&cgroup_weights, &id, &weight, BPF_ANY);
}

void TIERS_OPS(tiers_exit, struct scx_exit_info *info)
{
	struct exit_record *record;
	u32 zero = 0;

	record = bpf_map_lookup_elem(&exit_records, &zero);
	if (!record)
		return;
	record->code = info->exit_code;
	bpf_probe_read_kernel_str(record->reason, sizeof(record->reason), info->reason);
	bpf_probe_read_kernel_str(record->msg, sizeof(record->msg), info->msg);
	bpf_probe_read_kernel_str(record->dump, sizeof(record->dump), info->dump);
	/* Last: user space takes a kind other than 0 as "the record is complete". */
	__sync_fetch_and_or((u32 *)&record->kind, (u32)info->kind);
}

/* ---- fifo ---- */

/* Counts as the normal level's. */
#define FIFO_DSQ 1ULL

/* The built-in queue where there can be none of our own. */
static __always_inline u64 fifo_dsq(void)
{
	return bpf_ksym_exists(scx_bpf_create_dsq) ? FIFO_DSQ : SCX_DSQ_GLOBAL;
}

void TIERS_OPS(fifo_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu;

	COUNT(enqueued[1]);
	if (is_percpu_kthread(p)) {
		insert(p, SCX_DSQ_LOCAL, slice_ns, enq_flags);
		return;
	}
	insert(p, fifo_dsq(), slice_ns, enq_flags);
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
}

void TIERS_OPS(fifo_dispatch, s32 cpu, struct task_struct *prev)
{
	/* The kernel takes from the built-in queue by itself. */
	if (bpf_ksym_exists(scx_bpf_create_dsq) && move_to_local(FIFO_DSQ))
		COUNT(dispatched[1]);
}

s32 TIERS_OPS_SLEEPABLE(fifo_init)
{
	return bpf_ksym_exists(scx_bpf_create_dsq) ? scx_bpf_create_dsq(FIFO_DSQ, -1) : 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops fifo_ops = {
	.select_cpu = (void *)tiers_select_cpu,
	.enqueue = (void *)fifo_enqueue,
	.dispatch = (void *)fifo_dispatch,
	.init_task = (void *)tiers_init_task,
	.enable = (void *)tiers_enable,
	.runnable = (void *)tiers_runnable,
	.running = (void *)tiers_running,
	.cpu_release = (void *)tiers_cpu_release,
	.init = (void *)fifo_init,
	.exit = (void *)tiers_exit,
	.name = "tiers_fifo",
};

/* ---- throughput ---- */

/* The highest lane of an LLC in which tasks wait, -1 if none do, and how many. */
static __always_inline s32 top_lane(u32 llc, s32 *waiting)
{
	s32 top = -1;

	*waiting = 0;
	for (s32 lane = 0; lane < LANES; lane++) {
		s32 queued = scx_bpf_dsq_nr_queued(lane_dsq(llc, lane));

		if (queued > 0) {
			top = lane;
			*waiting = queued;
		}
	}
	return top;
}

/*
 * Levels hold across caches: each dispatch looks at one other LLC, in turn, and
 * takes from it when something higher waits there, or clearly more of the same.
 */
static __always_inline bool balance(u32 llc, s32 cpu, s32 prev_lane)
{
	u32 at = cpu, other;
	struct cpu_state *state = bpf_map_lookup_elem(&cpu_states, &at);
	s32 own, theirs, waiting, waiting_there;

	if (!state)
		return false;
	other = *(volatile u32 *)&state->look_at;
	state->look_at = other + 1 < nr_llcs ? other + 1 : 0;
	if (other == llc || other >= nr_llcs)
		return false;
	theirs = top_lane(other, &waiting_there);
	own = top_lane(llc, &waiting);
	if (prev_lane > own)
		waiting = 0;
	if (prev_lane >= own) {
		own = prev_lane;
		waiting++;
	}
	if (theirs < own || (theirs == own && waiting_there < waiting + 2))
		return false;
	if (serve(other, cpu, own, 0) != SERVED_MOVED)
		return false;
	COUNT(stolen);
	return true;
}

void TIERS_OPS(throughput_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = ctx_of(p);
	u32 level;

	if (!tctx) {
		insert(p, SCX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	classify(p, tctx);
	level = tctx->level;
	COUNT_LEVEL(enqueued, level);
	if (is_percpu_kthread(p)) {
		insert(p, SCX_DSQ_LOCAL, slice_ns, enq_flags);
		return;
	}
	insert(p, lane_dsq(llc_of(scx_bpf_task_cpu(p)), level), slice_ns, enq_flags);
	make_room(p, tctx, enq_flags, false);
}

void TIERS_OPS(throughput_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 llc = llc_of(cpu);
	s32 i, prev_lane = -1;
	enum served served;

	if (is_runnable(prev)) {
		struct task_ctx *tctx = ctx_of(prev);

		if (tctx)
			prev_lane = tctx->level;
	}
	if (nr_llcs > 1 && balance(llc, cpu, prev_lane))
		return;
	served = serve(llc, cpu, prev_lane, 0);
	if (served == SERVED_PREV && prev)
		keep(prev, cpu);
	if (served != SERVED_NOTHING)
		return;
	/* Nothing in this LLC: take from the others. */
	bpf_for(i, 1, nr_llcs) {
		u32 other = llc + i;

		if (other >= nr_llcs)
			other -= nr_llcs;
		if (serve(other, cpu, -1, 0) == SERVED_MOVED) {
			COUNT(stolen);
			return;
		}
	}
}

static __always_inline s32 create_lanes(u32 llcs)
{
	s32 llc, lane, err = 0;

	bpf_for(llc, 0, llcs) {
		bpf_for(lane, 0, LANES) {
			err = scx_bpf_create_dsq(lane_dsq(llc, lane), -1);
			if (err)
				return err;
		}
	}
	return 0;
}

s32 TIERS_OPS_SLEEPABLE(throughput_init)
{
	return create_lanes(nr_llcs);
}

SEC(".struct_ops.link")
struct sched_ext_ops throughput_ops = {
	.select_cpu = (void *)tiers_select_cpu,
	.enqueue = (void *)throughput_enqueue,
	.dispatch = (void *)throughput_dispatch,
	.runnable = (void *)tiers_runnable,
	.running = (void *)tiers_running,
	.stopping = (void *)tiers_stopping,
	.set_weight = (void *)tiers_set_weight,
	.cpu_release = (void *)tiers_cpu_release,
	.init_task = (void *)tiers_init_task,
	.enable = (void *)tiers_enable,
	.cgroup_init = (void *)tiers_cgroup_init,
	.cgroup_exit = (void *)tiers_cgroup_exit,
	.cgroup_move = (void *)tiers_cgroup_move,
	.cgroup_set_weight = (void *)tiers_cgroup_set_weight,
	.init = (void *)throughput_init,
	.exit = (void *)tiers_exit,
	.name = "tiers_throughput",
};

/* ---- deadline: one set of lanes for the machine, so that the earliest
 * deadline is the earliest of all. ---- */

/* A job past its deadline counts once as missed and gets a new one, or it
 * would stay ahead of all others for good. */
static __always_inline void renew_deadline(struct task_ctx *tctx, u64 now)
{
	if (!tctx->relative_deadline) {
		tctx->deadline = 0;
	} else if (!tctx->deadline || now > tctx->deadline) {
		if (tctx->deadline && !tctx->missed) {
			COUNT(deadlines_missed);
			tctx->missed = true;
		}
		tctx->deadline = now + tctx->relative_deadline;
	}
}

void TIERS_OPS(deadline_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = ctx_of(p);
	u64 now = bpf_ktime_get_ns();
	u32 level;

	if (!tctx) {
		insert(p, SCX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	classify(p, tctx);
	level = tctx->level;
	COUNT_LEVEL(enqueued, level);
	if (is_percpu_kthread(p)) {
		insert(p, SCX_DSQ_LOCAL, slice_ns, enq_flags);
		return;
	}
	renew_deadline(tctx, now);
	if (tctx->deadline)
		insert_vtime(p, lane_dsq(0, DEADLINE_LANE), slice_ns, tctx->deadline, enq_flags);
	else
		insert(p, lane_dsq(0, level), slice_ns, enq_flags);
	make_room(p, tctx, enq_flags, true);
}

void TIERS_OPS(deadline_dispatch, s32 cpu, struct task_struct *prev)
{
	s32 prev_lane = -1;
	u64 prev_deadline = 0;

	if (is_runnable(prev)) {
		struct task_ctx *tctx = ctx_of(prev);

		if (tctx) {
			renew_deadline(tctx, bpf_ktime_get_ns());
			prev_deadline = tctx->deadline;
			prev_lane = prev_deadline ? DEADLINE_LANE : tctx->level;
		}
	}
	if (serve(0, cpu, prev_lane, prev_deadline) == SERVED_PREV && prev)
		keep(prev, cpu);
}

s32 TIERS_OPS_SLEEPABLE(deadline_init)
{
	return create_lanes(1);
}

SEC(".struct_ops.link")
struct sched_ext_ops deadline_ops = {
	.select_cpu = (void *)tiers_select_cpu,
	.enqueue = (void *)deadline_enqueue,
	.dispatch = (void *)deadline_dispatch,
	.runnable = (void *)tiers_runnable,
	.running = (void *)tiers_running,
	.stopping = (void *)tiers_stopping,
	.set_weight = (void *)tiers_set_weight,
	.cpu_release = (void *)tiers_cpu_release,
	.init_task = (void *)tiers_init_task,
	.enable = (void *)tiers_enable,
	.cgroup_init = (void *)tiers_cgroup_init,
	.cgroup_exit = (void *)tiers_cgroup_exit,
	.cgroup_move = (void *)tiers_cgroup_move,
	.cgroup_set_weight = (void *)tiers_cgroup_set_weight,
	.init = (void *)deadline_init,
	.exit = (void *)tiers_exit,
	.name = "tiers_deadline",
};

/* ---- user: a task that wants to run is parked on a DSQ of its own and
 * reported; a decision moves it on. What user space forgets, or does not get
 * to, is still on the parking DSQ and runs from there. ---- */

#define SHARED_DSQ 0x800ULL
#define PARK_DSQ 0x801ULL
#define CPU_DSQ(cpu) (0x1000ULL + (cpu))

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} queued SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 256 * 1024);
} decisions SEC(".maps");

/* Decisions that overtook their task on its way to the parking DSQ. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_QUEUED);
	__type(value, struct dispatched_task);
} early SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct user_state);
} user_states SEC(".maps");

struct stall_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stall_timer);
} stall_timers SEC(".maps");

static __always_inline bool is_user_scheduler(struct task_struct *p)
{
	return p->tgid == user_tgid;
}

/* What user space depends on must not wait for user space. */
static __always_inline bool bypasses_user(struct task_struct *p)
{
	return is_user_scheduler(p) || (p->flags & PF_KTHREAD);
}

s32 TIERS_OPS(user_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;
	s32 cpu;

	if (!bypasses_user(p))
		return prev_cpu;
	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
	if (is_idle)
		insert(p, SCX_DSQ_LOCAL, slice_ns, 0);
	return cpu;
}

static __always_inline bool report(struct task_struct *p, struct task_ctx *tctx, u64 enq_flags)
{
	struct queued_task *task = bpf_ringbuf_reserve(&queued, sizeof(*task), 0);

	if (!task)
		return false;
	task->pid = p->pid;
	task->cpu = scx_bpf_task_cpu(p);
	task->flags = enq_flags;
	task->sum_exec_runtime = p->se.sum_exec_runtime;
	task->weight = p->scx.weight;
	task->nvcsw = p->nvcsw;
	task->slice = p->scx.slice;
	task->vtime = p->scx.dsq_vtime;
	task->enqueued_at = tctx->enqueued_at;
	task->deadline = tctx->deadline;
	task->level = tctx->level;
	task->nr_cpus_allowed = p->nr_cpus_allowed;
	if (bpf_probe_read_kernel_str(task->comm, sizeof(task->comm), p->comm) < 0)
		task->comm[0] = 0;
	bpf_ringbuf_submit(task, 0);
	return true;
}

static __always_inline struct user_state *user_state(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&user_states, &zero);
}

/* Whether user space has finished no round since it was found to be stalled. */
static __always_inline bool stalled(void)
{
	struct user_state *state = user_state();

	if (!state || !stalled_since)
		return false;
	if (state->round_at == stalled_since)
		return true;
	stalled_since = 0;
	return false;
}

void TIERS_OPS(user_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = ctx_of(p);
	u64 now = bpf_ktime_get_ns();
	s32 cpu;

	if (!tctx) {
		insert(p, SCX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	if (is_user_scheduler(p)) {
		insert(p, SCX_DSQ_LOCAL, slice_ns, enq_flags | SCX_ENQ_HEAD | SCX_ENQ_PREEMPT);
		return;
	}
	if (p->flags & PF_KTHREAD) {
		insert(p, SCX_DSQ_LOCAL, slice_ns, enq_flags);
		return;
	}
	classify(p, tctx);
	COUNT_LEVEL(enqueued, tctx->level);
	tctx->enqueued_at = now;
	renew_deadline(tctx, now);
	if (stalled()) {
		COUNT(fallback_stall);
	} else {
		tctx->parked = true;
		if (report(p, tctx, enq_flags)) {
			COUNT(to_user);
			insert(p, PARK_DSQ, slice_ns, enq_flags);
			return;
		}
		COUNT(fallback_full);
	}
	/* User space does not keep up: the global queue takes the task. */
	tctx->parked = false;
	insert(p, SHARED_DSQ, slice_ns, enq_flags);
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
}

/* Moves a parked task where the decision says; false when it is not there. */
static __always_inline bool apply(struct task_struct *p, const struct dispatched_task *decision)
{
	struct bpf_iter_scx_dsq it;
	u64 dsq = SHARED_DSQ;
	s32 cpu = decision->cpu;
	bool moved = false;

	if (!(decision->flags & TIERS_ANY_CPU) && is_online(cpu) &&
	    bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		dsq = CPU_DSQ(cpu);
	if (!bpf_iter_scx_dsq_new(&it, PARK_DSQ, 0)) {
		move_set_slice(&it, decision->slice_ns ?: slice_ns);
		moved = move(&it, p, dsq, 0);
	}
	bpf_iter_scx_dsq_destroy(&it);
	if (!moved)
		return false;
	if (dsq == SHARED_DSQ)
		cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	return true;
}

static __always_inline void decide(struct dispatched_task *decision)
{
	struct task_struct *p = bpf_task_from_pid(decision->pid);
	struct task_ctx *tctx;

	if (!p) {
		COUNT(stale);
		return;
	}
	tctx = ctx_of(p);
	if (!tctx || !tctx->parked) {
		COUNT(stale);
	} else if (apply(p, decision)) {
		tctx->parked = false;
		COUNT(from_user);
	} else if (decision->tries < 3) {
		/* Reported, and not on the parking DSQ yet. */
		decision->tries++;
		if (bpf_map_push_elem(&early, decision, 0))
			COUNT(stale);
		else
			COUNT(retried);
	} else {
		COUNT(stale);
	}
	bpf_task_release(p);
}

static long take_decision(struct bpf_dynptr *record, void *left)
{
	struct dispatched_task decision = {};

	if (!bpf_dynptr_read(&decision, sizeof(decision), record, 0, 0)) {
		decision.tries = 0;
		decide(&decision);
	}
	/* 1 ends this drain. */
	return --*(u32 *)left == 0;
}

/* A parked task that user space still makes rounds without deciding on: it may
 * have its reasons, up to here. Well below the kernel's watchdog. */
#define FORGOTTEN_NS 5000000000ULL

/* How long the first task on the queue has waited, for a decision and since. */
static __always_inline u64 queue_wait(u64 dsq, u64 now)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	u64 wait = 0;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		p = bpf_iter_scx_dsq_next(&it);
		if (p) {
			struct task_ctx *tctx = ctx_of(p);

			wait = tctx ? now - tctx->enqueued_at : FORGOTTEN_NS + 1;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return wait;
}

/* Runs the first parked task if user space is stalled or has forgotten it. */
static __always_inline bool run_parked(u64 now)
{
	struct user_state *state = user_state();
	u64 wait = queue_wait(PARK_DSQ, now);

	if (!state || wait <= stall_ns)
		return false;
	if (now - state->round_at > stall_ns)
		stalled_since = state->round_at ?: 1;
	else if (wait <= FORGOTTEN_NS)
		return false;
	if (!move_to_local(PARK_DSQ))
		return false;
	COUNT(fallback_stall);
	return true;
}

/*
 * Now and then, however busy: the first parked task if it is overdue, else one
 * that has waited for its CPU as long as that: the CPU may be running something
 * that does not yield to us. So no task is ever lost.
 */
static __noinline bool run_overdue(u64 now)
{
	u32 looked_at = overdue_looked_at;
	s32 i;

	stall_checked_at = now;
	if (run_parked(now))
		return true;
	bpf_for(i, 0, 16) {
		looked_at = looked_at + 1 < nr_cpus ? looked_at + 1 : 0;
		overdue_looked_at = looked_at;
		if (scx_bpf_dsq_nr_queued(CPU_DSQ(looked_at)) > 0 &&
		    queue_wait(CPU_DSQ(looked_at), now) > FORGOTTEN_NS &&
		    move_to_local(CPU_DSQ(looked_at))) {
			COUNT(fallback_stall);
			return true;
		}
	}
	return false;
}

/* Tells user space that the queues run low while it still holds tasks. */
static __always_inline void nudge(void)
{
	struct queued_task *task;
	struct user_state *state = user_state();

	if (!state || !state->pending || __sync_fetch_and_or(&state->nudged, 1))
		return;
	task = bpf_ringbuf_reserve(&queued, sizeof(*task), 0);
	if (!task) {
		state->nudged = 0;
		return;
	}
	__builtin_memset(task, 0, sizeof(*task));
	COUNT(nudges);
	bpf_ringbuf_submit(task, 0);
}

static __always_inline bool nothing_else_waits(void)
{
	struct user_state *state = user_state();

	return state && !state->pending && scx_bpf_dsq_nr_queued(PARK_DSQ) <= 0;
}

void TIERS_OPS(user_dispatch, s32 cpu, struct task_struct *prev)
{
	struct dispatched_task decision;
	u64 now = bpf_ktime_get_ns();
	u32 left = 64;
	s32 i;

	bpf_for(i, 0, 8) {
		if (bpf_map_pop_elem(&early, &decision))
			break;
		decide(&decision);
	}
	bpf_user_ringbuf_drain(&decisions, take_decision, &left, 0);

	if (now - stall_checked_at > stall_ns / 4 && run_overdue(now))
		return;
	if (move_to_local(CPU_DSQ(cpu)) || move_to_local(SHARED_DSQ))
		return;
	if (is_runnable(prev) && !bypasses_user(prev) && nothing_else_waits()) {
		keep(prev, cpu);
		return;
	}
	nudge();
	run_parked(now);
}

/* Idle CPUs do not dispatch: have them look at the parking DSQ. */
static int stall_check(void *map, u32 *key, struct stall_timer *value)
{
	s32 cpu;

	if (scx_bpf_dsq_nr_queued(PARK_DSQ) > 0 || scx_bpf_dsq_nr_queued(SHARED_DSQ) > 0) {
		bpf_for(cpu, 0, nr_cpus)
			scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	}
	bpf_timer_start(&value->timer, stall_ns / 2, 0);
	return 0;
}

s32 TIERS_OPS_SLEEPABLE(user_init)
{
	struct stall_timer *timer;
	u32 zero = 0;
	s32 err, cpu;

	err = scx_bpf_create_dsq(SHARED_DSQ, -1);
	if (err)
		return err;
	err = scx_bpf_create_dsq(PARK_DSQ, -1);
	if (err)
		return err;
	bpf_for(cpu, 0, nr_cpus) {
		err = scx_bpf_create_dsq(CPU_DSQ(cpu), -1);
		if (err)
			return err;
	}
	timer = bpf_map_lookup_elem(&stall_timers, &zero);
	if (!timer)
		return -ENOENT;
	err = bpf_timer_init(&timer->timer, &stall_timers, CLOCK_MONOTONIC);
	if (err)
		return err;
	bpf_timer_set_callback(&timer->timer, stall_check);
	return bpf_timer_start(&timer->timer, stall_ns / 2, 0);
}

SEC(".struct_ops.link")
struct sched_ext_ops user_ops = {
	.select_cpu = (void *)user_select_cpu,
	.enqueue = (void *)user_enqueue,
	.dispatch = (void *)user_dispatch,
	.runnable = (void *)tiers_runnable,
	.running = (void *)tiers_running,
	.stopping = (void *)tiers_stopping,
	.set_weight = (void *)tiers_set_weight,
	.cpu_release = (void *)tiers_cpu_release,
	.init_task = (void *)tiers_init_task,
	.enable = (void *)tiers_enable,
	.cgroup_init = (void *)tiers_cgroup_init,
	.cgroup_exit = (void *)tiers_cgroup_exit,
	.cgroup_move = (void *)tiers_cgroup_move,
	.cgroup_set_weight = (void *)tiers_cgroup_set_weight,
	.init = (void *)user_init,
	.exit = (void *)tiers_exit,
	/* The last task of a CPU is user space's to decide on, too. */
	.flags = SCX_OPS_ENQ_LAST,
	.name = "tiers_user",
};

/* Run by user space: how many CPUs run no task of its and have no decision
 * waiting. Its own process counts as none: it is about to sleep. */
SEC("syscall")
int free_cpus(void *ctx)
{
	s32 taken = scx_bpf_dsq_nr_queued(SHARED_DSQ), cpu, queued;

	bpf_for(cpu, 0, nr_cpus) {
		u32 at = cpu;
		struct cpu_state *state = bpf_map_lookup_elem(&cpu_states, &at);

		if (state && state->busy && !state->overhead)
			taken++;
		queued = scx_bpf_dsq_nr_queued(CPU_DSQ(cpu));
		if (queued > 0)
			taken += queued;
	}
	return taken < (s32)nr_online_cpus ? (s32)nr_online_cpus - taken : 0;
}

/* Run by user space: how many tasks wait where. */
SEC("syscall")
int queue_depths(struct depths *depths)
{
	u64 lane[LANES] = {};
	s32 llc, queued;

	bpf_for(llc, 0, nr_llcs) {
		for (u32 i = 0; i < LANES; i++) {
			queued = scx_bpf_dsq_nr_queued(lane_dsq(llc, i));
			if (queued > 0)
				lane[i] += queued;
		}
	}
	for (u32 i = 0; i < LANES; i++)
		depths->lane[i] = lane[i];
	queued = scx_bpf_dsq_nr_queued(SHARED_DSQ);
	depths->shared = queued > 0 ? queued : 0;
	queued = scx_bpf_dsq_nr_queued(PARK_DSQ);
	depths->parked = queued > 0 ? queued : 0;
	return 0;
}

/* Run by user space: an idle CPU for the task, the previous one first, then
 * one of its LLC, then any; -1 when none is idle. */
SEC("syscall")
int pick_cpu(struct select_args *args)
{
	struct task_struct *p = bpf_task_from_pid(args->pid);
	s32 prev_cpu = args->prev_cpu, found = -1, i;
	u32 llc = llc_of(prev_cpu);

	if (!p)
		return -1;
	bpf_rcu_read_lock();
	if (is_online(prev_cpu) && bpf_cpumask_test_cpu(prev_cpu, p->cpus_ptr) &&
	    scx_bpf_test_and_clear_cpu_idle(prev_cpu)) {
		found = prev_cpu;
	} else {
		bpf_for(i, 0, nr_cpus) {
			if (llc_of(i) == llc && is_online(i) &&
			    bpf_cpumask_test_cpu(i, p->cpus_ptr) &&
			    scx_bpf_test_and_clear_cpu_idle(i)) {
				found = i;
				break;
			}
		}
		if (found < 0)
			found = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	}
	bpf_rcu_read_unlock();
	bpf_task_release(p);
	return found;
}
