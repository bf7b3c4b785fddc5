/* SPDX-License-Identifier: GPL-2.0-only */
/* What the BPF half and the Rust half agree on; src/intf.rs mirrors it. */
#ifndef TIERS_INTF_H
#define TIERS_INTF_H

enum {
	MAX_CPUS = 512,
	MAX_LLCS = 64,
	LEVELS = 4,
	DEADLINE_LANE = LEVELS,
	LANES = LEVELS + 1,
	LATENCY_BUCKETS = 32,
	COMM_LEN = 16,
	MAX_RULES = 1024,
	MAX_CGROUPS = 16384,
	MAX_QUEUED = 4096,
};

/* An explicit rule, by comm or by tgid. */
struct rule {
	u32 level;		/* LEVELS and above: the rule names none */
	u32 pad;
	u64 deadline_ns;	/* relative; 0: the rule names none */
};

struct comm_key {
	char comm[COMM_LEN];
};

/* Per CPU, summed by the reader. */
struct counters {
	u64 enqueued[LEVELS];
	u64 dispatched[LANES];
	u64 direct[LEVELS];
	u64 aged;
	u64 kept;
	u64 stolen;
	u64 preempted;
	u64 deadlines_met;
	u64 deadlines_missed;
	u64 to_user;
	u64 from_user;
	u64 stale;
	u64 retried;
	u64 fallback_full;
	u64 fallback_stall;
	u64 nudges;
	/* Wake-up to running, log2 of microseconds. */
	u64 latency[LEVELS][LATENCY_BUCKETS];
};

/* Kernel to user space: a task that waits for a decision. */
struct queued_task {
	s32 pid;		/* 0: not a task, but a call for more decisions */
	s32 cpu;
	u64 flags;
	u64 sum_exec_runtime;
	u64 weight;
	u64 nvcsw;
	u64 slice;
	u64 vtime;
	u64 enqueued_at;
	u64 deadline;		/* absolute; 0: none */
	u32 level;
	u32 nr_cpus_allowed;
	char comm[COMM_LEN];
};

#define TIERS_ANY_CPU (1ULL << 32)

/* User space to kernel: the decision. */
struct dispatched_task {
	s32 pid;
	s32 cpu;
	u64 flags;
	u64 slice_ns;
	u32 tries;		/* the kernel side's own */
	u32 pad;
};

/* Written by user space after each round. */
struct user_state {
	u64 pending;		/* tasks it holds and has not decided on */
	u64 nudged;		/* set by the kernel side: a call for more is out */
	u64 round_at;		/* when the round ended (CLOCK_MONOTONIC) */
};

/* Argument and result of the CPU selection program. */
struct select_args {
	s32 pid;
	s32 prev_cpu;
	u64 flags;
};

/* Result of the depth program. */
struct depths {
	u64 lane[LANES];
	u64 shared;		/* decided on, waiting for a CPU */
	u64 parked;		/* waiting for a decision */
};

/* What the kernel said when the scheduler ended. */
struct exit_record {
	s32 kind;
	u32 pad;
	s64 code;
	char reason[128];
	char msg[1024];
	char dump[32768];
};

#endif
