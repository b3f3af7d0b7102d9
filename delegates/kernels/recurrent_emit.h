// The end of a step of a recurrent layer: state (rows, n) = ACTIVATE(p), and row r of y from y_offset + r * y_step on.
// P_T is p's type, T that of state and y. ONE_ROW: rows is 1. One work-item an element.

#include "row_column.inc"

KERNEL emit(IN(P_T) RESTRICT p, OUT(T) RESTRICT state, OUT(T) RESTRICT y, i32 size, i32 n, i32 y_step, i32 y_offset) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    P_T v = p[i];
    T out = ACTIVATE(v);
    state[i] = out;
    y[y_offset + ROW(i, n) * y_step + COLUMN(i, n)] = out;
}
