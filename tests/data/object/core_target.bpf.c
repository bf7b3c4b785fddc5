// SPDX-License-Identifier: GPL-2.0-only
/* The types of core_local as a later kernel has them. */
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int (*callback_t)(int, void *);

struct forward {
	int defined;
};

struct inner {
	int x;
	int list[4];
};

struct plain {
	u64 new_first;
	u64 widened;
	long signed_widened;
	int moved;
	void *pointer;
	struct inner inner;
	struct inner many[3];
	enum plain_enum { PLAIN_A, PLAIN_B = 6 } kind;
	enum other_enum { OTHER } unused;
	const volatile u32 qualified;
	float real;
	callback_t callback;
	struct forward *ahead;
	int *becomes_pointer;
	int shorter[2];
};

struct plain___second {
	int only_in_target;
	int at_two_places;
	struct {
		union {
			int hidden_deep;
			long other;
		};
	};
};

struct bits {
	u32 a : 3;
	u32 new : 2;
	int b : 6;
	u32 c : 20;
	u64 d : 40;
	u32 became_plain;
	u32 became_bits : 9;
	_Bool flag : 1;
};

struct flexible {
	int count;
	u64 items[];
};

union choice {
	int number;
	char bytes[8];
};

enum values {
	VALUES_NEGATIVE = -7,
	VALUES_MOVED = 33,
	VALUES_FLAVOUR___new = 10,
	VALUES_OTHER,
};

enum large {
	LARGE_TOP = 0x8000000000000001ULL,
	LARGE_MOVED = 0x200000000ULL,
};

enum unsigned_top {
	TOP = 0x80000000U,
};

enum narrowed {
	NARROWED = 0x10,
};

typedef struct {
	int x;
} anonymous_alias;

typedef u32 number_alias;

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
};

struct self {
	struct self *next;
	struct self **table[2];
};

struct {
	struct plain plain;
	struct plain___second flavour;
	struct bits bits;
	struct flexible *flexible;
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
