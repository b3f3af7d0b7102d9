// One step of an LSTM from the sums of its gates z (rows, GATES * n): writes state (rows, n) and hidden (rows, n), and
// with WRITES_Y row r of y from y_offset + r * y_step on. One work-item a cell.
//
// lstm_cell            f32; ACTIVATE(x) is the activation, clip > 0 clamps the state
// lstm_cell_quantized  i32 sums of 16 bits, which index the tables logistic, tangent and tangent_of_state; i16 state;
//                      i8 hidden and y
//
// | macro                         | meaning                                                               |
// | QUANTIZED                     | lstm_cell_quantized                                                   |
// | STAGE                         | 0: all; 1: up to the state; 2: from the state on                      |
// | AT_I, AT_F, AT_O, AT_C, GATES | the position of each gate, and how many there are; without AT_I, CIFG |
// | PEEPHOLE                      | gates see the state, by weights peephole (GATES, n)                   |
// | WRITES_Y                      | y is written                                                          |
// | ONE_ROW                       | rows is 1                                                             |

#include "row_column.inc"

#ifdef QUANTIZED
KERNEL lstm_cell_quantized(IN(i32) z, IN(i16) RESTRICT logistic, IN(i16) RESTRICT tangent,
                           IN(i16) RESTRICT tangent_of_state, OUT(i16) RESTRICT state, OUT(i8) RESTRICT hidden,
                           OUT(i8) RESTRICT y, i32 size, i32 n, i32 y_step, i32 y_offset, i32 shift, i32 low, i32 high,
                           i32 multiplier, i32 exponent, i32 zero_point) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = COLUMN(i, n);
    z += r * GATES * n + j;
    i32 now = state[i];
#if STAGE != 2
    i32 forget = logistic[(u16)z[AT_F * n]];
#ifdef AT_I
    i32 admit = logistic[(u16)z[AT_I * n]];
#else
    i32 admit = 32767 - forget;
#endif
    i32 kept = now * forget, added = admit * tangent[(u16)z[AT_C * n]];
    kept = (kept - (kept < 0) + (1 << 14)) >> 15;
    // Truncated to 16 bits, not clamped.
    added = (i16)((added - (added < 0) + (1 << (shift - 1))) >> shift);
    now = clamp_i32(kept + added, low, high);
    state[i] = now;
#endif
#if STAGE != 1
    i32 gated = tangent_of_state[(u16)now] * logistic[(u16)z[AT_O * n]];
    i32 value = clamp_i32(mbqm(gated, multiplier, exponent) + zero_point, -128, 127);
    hidden[i] = value;
#ifdef WRITES_Y
    y[y_offset + r * y_step + j] = value;
#endif
#endif
}
#else
#define SIGMOID(x) (1.0f / (1.0f + exp(-(x))))
#ifdef PEEPHOLE
#define SUM(gate, c) (z[gate * n] + peephole[gate * n + j] * (c))
#else
#define SUM(gate, c) (z[gate * n])
#endif
KERNEL lstm_cell(IN(f32) z, IN(f32) RESTRICT peephole, OUT(f32) RESTRICT state, OUT(f32) RESTRICT hidden,
                 OUT(f32) RESTRICT y, i32 size, i32 n, i32 y_step, i32 y_offset, f32 clip) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 r = ROW(i, n), j = COLUMN(i, n);
    z += r * GATES * n + j;
    f32 now = state[i];
#if STAGE != 2
    f32 forget = SIGMOID(SUM(AT_F, now));
#ifdef AT_I
    f32 admit = SIGMOID(SUM(AT_I, now));
#else
    f32 admit = 1.0f - forget;
#endif
    f32 input = z[AT_C * n];
    now = now * forget + admit * ACTIVATE(input);
    if (clip > 0) now = clamp_f32(now, -clip, clip);
    state[i] = now;
#endif
#if STAGE != 1
    f32 out = SIGMOID(SUM(AT_O, now)) * ACTIVATE(now);
    hidden[i] = out;
#ifdef WRITES_Y
    y[y_offset + r * y_step + j] = out;
#endif
#endif
}
#endif
