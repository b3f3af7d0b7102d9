// Tensor cores as mma.h has them. Element i of a lane's fragment is element lane * num_elements + i of the matrix; as in
// CUDA, nothing may rely on which. Products are summed in the accumulator's type, in order of k.
#pragma once

namespace nvcuda {
namespace wmma {
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
namespace precision {
struct tf32 {};
}  // namespace precision
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K> struct emu_sizes;
template <int M, int N, int K> struct emu_sizes<matrix_a, M, N, K> {
    enum { rows = M, columns = K };
};
template <int M, int N, int K> struct emu_sizes<matrix_b, M, N, K> {
    enum { rows = K, columns = N };
};
template <int M, int N, int K> struct emu_sizes<accumulator, M, N, K> {
    enum { rows = M, columns = N };
};
template <class T> struct emu_element {
    typedef T type;
};
template <> struct emu_element<precision::tf32> {
    typedef float type;
};

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    enum {
        rows = emu_sizes<Use, M, N, K>::rows,
        columns = emu_sizes<Use, M, N, K>::columns,
        num_elements = rows * columns / 32
    };
    typedef typename emu_element<T>::type element_type;
    typedef Layout layout;
    element_type x[num_elements];
};

EMU_FN float __float_to_tf32(float f) {
    unsigned bits = (unsigned)__float_as_int(f);
    if ((bits >> 23 & 255) == 255) return f;
    return __int_as_float((int)((bits + 0x1000) & ~0x1fffu));
}

template <class F, class V> EMU_FN void fill_fragment(F& f, V v) {
    for (int i = 0; i < F::num_elements; i++) f.x[i] = v;
}

template <class L> struct emu_by_column {
    enum { value = 0 };
};
template <> struct emu_by_column<col_major> {
    enum { value = 1 };
};

// Not EMU_FN: check mode watches these accesses to memory.
template <class F, class T> static inline void emu_load(F& f, const T* p, unsigned step, bool by_column) {
    __syncwarp();
    for (int i = 0; i < F::num_elements; i++) {
        int at = emu_thread.lane * F::num_elements + i, row = at / F::columns, column = at % F::columns;
        f.x[i] = p[by_column ? column * step + row : row * step + column];
    }
    __syncwarp();
}
template <class Use, int M, int N, int K, class T, class L, class V>
static inline void load_matrix_sync(fragment<Use, M, N, K, T, L>& f, const V* p, unsigned step) {
    emu_load(f, p, step, emu_by_column<L>::value);
}
template <int M, int N, int K, class T>
static inline void load_matrix_sync(fragment<accumulator, M, N, K, T>& f, const T* p, unsigned step, layout_t layout) {
    emu_load(f, p, step, layout == mem_col_major);
}
template <int M, int N, int K, class T>
static inline void store_matrix_sync(T* p, const fragment<accumulator, M, N, K, T>& f, unsigned step, layout_t layout) {
    typedef fragment<accumulator, M, N, K, T> F;
    __syncwarp();
    for (int i = 0; i < F::num_elements; i++) {
        int at = emu_thread.lane * F::num_elements + i, row = at / F::columns, column = at % F::columns;
        p[layout == mem_col_major ? column * step + row : row * step + column] = f.x[i];
    }
    __syncwarp();
}

EMU_FN float emu_product(float a, float b) { return a * b; }
EMU_FN int emu_product(int a, int b) { return a * b; }
EMU_FN float emu_wide(float v) { return v; }
EMU_FN int emu_wide(signed char v) { return v; }
EMU_FN int emu_wide(unsigned char v) { return v; }

template <class D, class A, class B, class C> EMU_FN void mma_sync(D& d, const A& a, const B& b, const C& c) {
    struct Pair {
        A a;
        B b;
    } mine = {a, b}, all[32];
    emu_exchange(0xffffffffu, &mine, all, sizeof(Pair));
    for (int i = 0; i < D::num_elements; i++) {
        int at = emu_thread.lane * D::num_elements + i, row = at / D::columns, column = at % D::columns;
        typename D::element_type sum = c.x[i];
        for (int k = 0; k < A::columns; k++) {
            int in_a = row * A::columns + k, in_b = k * B::columns + column;
            sum += emu_product(emu_wide(all[in_a / A::num_elements].a.x[in_a % A::num_elements]),
                               emu_wide(all[in_b / B::num_elements].b.x[in_b % B::num_elements]));
        }
        d.x[i] = sum;
    }
}
}  // namespace wmma
}  // namespace nvcuda
