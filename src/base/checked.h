/* checked.h - size arithmetic that reports overflow; true means overflow. */
#ifndef WDB_BASE_CHECKED_H
#define WDB_BASE_CHECKED_H

#define WDB_ADD_OVERFLOWS(a, b, out) __builtin_add_overflow((a), (b), (out))
#define WDB_SUB_OVERFLOWS(a, b, out) __builtin_sub_overflow((a), (b), (out))
#define WDB_MUL_OVERFLOWS(a, b, out) __builtin_mul_overflow((a), (b), (out))

#endif
