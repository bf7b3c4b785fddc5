// SPDX-License-Identifier: GPL-2.0-only
/*
 * Types as an object sees them, to be relocated against core_target. `core_expected.txt` has libbpf's
 * answer for every member, enumerator and relocation kind.
 */
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int (*callback_t)(int, void *);

struct forward;

struct inner {
	int x;
	int list[4];
};

struct plain {
	int moved;
	char gone;
	u32 widened;
	int signed_widened;
	void *pointer;
	struct inner inner;
	struct inner many[3];
	enum plain_enum { PLAIN_A, PLAIN_B = 5, PLAIN_GONE } kind;
	const volatile u32 qualified;
	float real;
	callback_t callback;
	struct forward *ahead;
	int becomes_pointer;
	int shorter[8];
};

struct plain___flavour {
	int only_in_target;
	struct {
		union {
			int hidden_deep;
			long other;
		};
	};
};

struct bits {
	u32 a : 3;
	int b : 5;
	u32 c : 20;
	u64 d : 40;
	u32 became_plain : 4;
	u32 became_bits;
	_Bool flag : 1;
};

struct flexible {
	int count;
	u64 items[];
};

struct absent {
	int x;
};

struct absent_flexible {
	int count;
	struct inner items[];
};

union choice {
	int number;
	char bytes[8];
};

enum values {
	VALUES_NEGATIVE = -7,
	VALUES_MOVED = 3,
	VALUES_GONE = 4,
	VALUES_FLAVOUR___old = 9,
};

enum large {
	LARGE_TOP = 0x8000000000000001ULL,
	LARGE_MOVED = 0x100000000ULL,
};

enum unsigned_top {
	TOP = 0x80000000U,
};

enum narrowed {
	NARROWED = 0x100000000ULL,
};

typedef struct {
	int x;
} anonymous_alias;

typedef u64 number_alias;

struct equal {
	int a;
	struct inner *inner;
	enum values v;
	int (*f)(struct plain *, u64);
	struct {
		int nested;
	};
};

struct larger {
	int a;
	int extra;
};

struct self {
	struct self *next;
	struct self **table[2];
};

struct {
	struct plain plain;
	struct plain___flavour flavour;
	struct bits bits;
	struct flexible *flexible;
	struct absent absent;
	struct absent_flexible *absent_flexible;
	union choice choice;
	enum values values;
	enum large large;
	enum unsigned_top unsigned_top;
	enum narrowed narrowed;
	anonymous_alias alias;
	number_alias number;
	struct equal equal;
	struct larger larger;
	struct self self;
} everything;
