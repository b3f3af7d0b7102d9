// state (rows, units, rank, memory) shifts by one and appends newest (rows, units * rank);
// y (rows, units) = RESULT(bias + the sum of state times time (units * rank, memory)). One work-item a unit.

KERNEL svdf(IN(N_T) RESTRICT newest, IN(TIME_T) RESTRICT time, IN(BIAS_T) RESTRICT bias, OUT(STATE_T) RESTRICT state,
            OUT(Y_T) RESTRICT y, i32 size, i32 units, i32 rank, i32 memory, i32 state_zero, i32 multiplier,
            i32 exponent, i32 zero_point) {
    i32 i = GLOBAL_ID;
    if (i >= size) return;
    i32 filters = units * rank, first = i % units * rank;
    newest += i / units * filters + first;
    state += (i / units * filters + first) * memory;
    time += first * memory;
    ACC_T acc = 0;
    for (i32 f = 0; f < rank; f++) {
        STATE_T last = (STATE_T)newest[f];
        for (i32 m = 0; m < memory; m++) {
            i32 at = f * memory + m;
            STATE_T now = m + 1 < memory ? state[at + 1] : last;
            state[at] = now;
            acc += ((ACC_T)now - state_zero) * (ACC_T)time[at];
        }
    }
    acc += bias[i % units];
    y[i] = RESULT(acc);
}
