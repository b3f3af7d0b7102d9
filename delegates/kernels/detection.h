// suppress (HEAP): NON_MAX_SUPPRESSION_V4 and V5, by one work-item. A heap of (score, box, selected boxes that it has
// been compared with), in the order of C++'s, gives the best box; overlaps lower its score, and it may go back.
// decode (DECODE): the box of every anchor, and its score of each class, or the best.
// select_boxes (WIDTH): at most `most` boxes of every class that do not overlap, best first, the first of equals first;
// a block of WIDTH a class.
// emit_best (BEST): the k best classes of every selected box.
// emit_sorted: the best of all classes' boxes.

FN f32 lesser(f32 a, f32 b) { return a != a ? a : b < a || b != b ? b : a; }
FN f32 greater_of(f32 a, f32 b) { return a != a ? a : b > a || b != b ? b : a; }

// Intersection over union of two boxes (top, left, bottom, right); 0 where either is empty.
FN f32 overlap(f32 t, f32 l, f32 b, f32 r, f32 t2, f32 l2, f32 b2, f32 r2) {
    f32 area = (b - t) * (r - l), area2 = (b2 - t2) * (r2 - l2);
    f32 height = greater_of(lesser(b2, b) - greater_of(t2, t), 0),
        width = greater_of(lesser(r2, r) - greater_of(l2, l), 0);
    f32 common = height * width;
    return area <= 0 || area2 <= 0 ? 0 : QUOTIENT(common, (area2 + area - common));
}

#if defined(HEAP)
FN void rise(OUT(f32) scores, OUT(i32) boxes, OUT(i32) begins, i32 hole, i32 top, f32 score, i32 box, i32 begin) {
    i32 parent = (hole - 1) / 2;
    while (hole > top && scores[parent] < score) {
        scores[hole] = scores[parent];
        boxes[hole] = boxes[parent];
        begins[hole] = begins[parent];
        hole = parent;
        parent = (parent - 1) / 2;
    }
    scores[hole] = score;
    boxes[hole] = box;
    begins[hole] = begin;
}

// Removes the first of `length` elements: the last one replaces it and sinks.
FN void sink_last(OUT(f32) scores, OUT(i32) boxes, OUT(i32) begins, i32 length) {
    f32 score = scores[--length];
    i32 box = boxes[length], begin = begins[length], hole = 0, child = 0;
    if (!length) return;
    while (child < (length - 1) / 2) {
        child = 2 * child + 2;
        if (scores[child] < scores[child - 1]) child--;
        scores[hole] = scores[child];
        boxes[hole] = boxes[child];
        begins[hole] = begins[child];
        hole = child;
    }
    if (length % 2 == 0 && child == (length - 2) / 2) {
        child = 2 * child + 1;
        scores[hole] = scores[child];
        boxes[hole] = boxes[child];
        begins[hole] = begins[child];
        hole = child;
    }
    rise(scores, boxes, begins, hole, 0, score, box, begin);
}

FN f32 overlap_of(IN(f32) a, IN(f32) b) {
    return overlap(lesser(a[0], a[2]), lesser(a[1], a[3]), greater_of(a[0], a[2]), greater_of(a[1], a[3]),
                   lesser(b[0], b[2]), lesser(b[1], b[3]), greater_of(b[0], b[2]), greater_of(b[1], b[3]));
}

KERNEL suppress(IN(f32) boxes, IN(f32) scores, IN(f32) iou_threshold, IN(f32) score_threshold, IN(f32) sigma,
                OUT(f32) heap_scores, OUT(i32) heap_boxes, OUT(i32) heap_begins, OUT(i32) selected, OUT(f32) kept,
                OUT(i32) number, i32 n, i32 count, OUT(i32) fault) {
    if (GLOBAL_ID > 0) return;
    f32 iou = *iou_threshold, least = *score_threshold, s = *sigma, decay = QUOTIENT(-0.5f, s);
    i32 length = 0, found = 0;
    if (s < 0) {
        *fault = 1;
        return;
    }
    for (i32 i = 0; i < n; i++)
        if (scores[i] > least) {
            rise(heap_scores, heap_boxes, heap_begins, length, 0, scores[i], i, 0);
            length++;
        }
    i32 wanted = count < length ? count : length;
    while (found < wanted && length > 0) {
        f32 original = heap_scores[0], score = original;
        i32 box = heap_boxes[0], begin = heap_begins[0], dropped = 0;
        sink_last(heap_scores, heap_boxes, heap_begins, length);
        length--;
        for (i32 j = found - 1; j >= begin; j--) {
            f32 common = overlap_of(boxes + 4 * box, boxes + 4 * selected[j]);
            if (common >= iou) {
                dropped = 1;
                break;
            }
            if (s > 0) {
                score = score * exp(decay * common * common);
                if (score <= least) break;
            }
        }
        if (dropped) continue;
        if (score == original) {
            selected[found] = box;
            kept[found] = score;
            begin = found++;
        } else {
            begin = found;
        }
        if (score > least) {
            rise(heap_scores, heap_boxes, heap_begins, length, 0, score, box, begin);
            length++;
        }
    }
    for (i32 j = found; j < count; j++) {
        selected[j] = 0;
        kept[j] = 0;
    }
    *number = found;
}
#elif defined(DECODE)
KERNEL decode(IN(X_T) encodings, IN(C_T) predictions, IN(A_T) anchors, OUT(f32) boxes, OUT(f32) scores, i32 n,
              i32 coordinates, i32 given, i32 classes, i32 best, f32 x_zero, f32 x_scale, f32 c_zero, f32 c_scale,
              f32 a_zero, f32 a_scale, f64 by_y, f64 by_x, f64 by_h, f64 by_w, OUT(i32) fault) {
    i32 i = GLOBAL_ID;
    if (i >= n) return;
    encodings += i * coordinates;
    anchors += 4 * i;
    predictions += i * given + given - classes;
    f64 y = (f64)(((f32)encodings[0] - x_zero) * x_scale) / by_y;
    f64 x = (f64)(((f32)encodings[1] - x_zero) * x_scale) / by_x;
    f64 h = (f64)(((f32)encodings[2] - x_zero) * x_scale) / by_h;
    f64 w = (f64)(((f32)encodings[3] - x_zero) * x_scale) / by_w;
    f64 anchor_y = (f64)(((f32)anchors[0] - a_zero) * a_scale), anchor_x = (f64)(((f32)anchors[1] - a_zero) * a_scale);
    f64 anchor_h = (f64)(((f32)anchors[2] - a_zero) * a_scale), anchor_w = (f64)(((f32)anchors[3] - a_zero) * a_scale);
    f32 centre_y = (f32)(y * anchor_h + anchor_y), centre_x = (f32)(x * anchor_w + anchor_x);
    f32 half_h = (f32)(0.5 * exp(h) * anchor_h), half_w = (f32)(0.5 * exp(w) * anchor_w);
    f32 top = centre_y - half_h, left = centre_x - half_w, bottom = centre_y + half_h, right = centre_x + half_w;
    if (top > bottom || left > right) *fault = 1;
    boxes[4 * i] = top;
    boxes[4 * i + 1] = left;
    boxes[4 * i + 2] = bottom;
    boxes[4 * i + 3] = right;
    f32 most = 0;
    for (i32 c = 0; c < classes; c++) {
        f32 score = ((f32)predictions[c] - c_zero) * c_scale;
        most = c == 0 ? score : greater_of(most, score);
        scores[c * n + i] = score;
    }
    if (best) scores[classes * n + i] = most;
}
#elif defined(WIDTH)
KERNEL select_boxes(IN(f32) boxes, IN(f32) scores, OUT(u8) alive, OUT(i32) chosen, OUT(i32) counts, i32 n, i32 most,
                    i32 first, f32 least, f32 iou) {
#if WIDTH == 1
    i32 t = 0, c = GLOBAL_ID;
#else
    LOCAL f32 best_scores[WIDTH];
    LOCAL i32 best_boxes[WIDTH];
    i32 t = LOCAL_ID, c = GROUP_ID;
#endif
    scores += first + c * n;
    alive += c * n;
    chosen += c * most;
    for (i32 i = t; i < n; i += WIDTH) alive[i] = scores[i] >= least;
    i32 found = 0;
    while (found < most) {
        f32 score = 0;
        i32 best = -1;
        for (i32 i = t; i < n; i += WIDTH)
            if (alive[i] && (best < 0 || scores[i] > score)) {
                score = scores[i];
                best = i;
            }
#if WIDTH > 1
        best_scores[t] = score;
        best_boxes[t] = best;
        for (i32 s = WIDTH / 2; s > 0; s /= 2) {
            BARRIER;
            if (t < s) {
                i32 mine = best_boxes[t], other = best_boxes[t + s];
                f32 a = best_scores[t], b = best_scores[t + s];
                if (other >= 0 && (mine < 0 || b > a || (b == a && other < mine))) {
                    best_scores[t] = b;
                    best_boxes[t] = other;
                }
            }
        }
        BARRIER;
        best = best_boxes[0];
        BARRIER;
#endif
        if (best < 0) break;
        if (t == 0) chosen[found] = best;
        found++;
        IN(f32) a = boxes + 4 * best;
        for (i32 i = t; i < n; i += WIDTH) {
            IN(f32) b = boxes + 4 * i;
            if (alive[i] && (i == best || overlap(a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]) > iou)) alive[i] = 0;
        }
    }
    if (t == 0) counts[c] = found;
}
#elif defined(BEST)
// Sinks `element` from the hole on, in a heap of `length` classes by score, as C++'s partial_sort does.
FN void sink(IN(f32) scores, i32 n, OUT(i32) order, i32 hole, i32 length, i32 element) {
    i32 top = hole, child = hole;
    f32 score = scores[element * n];
    while (child < (length - 1) / 2) {
        child = 2 * child + 2;
        if (scores[order[child] * n] > scores[order[child - 1] * n]) child--;
        order[hole] = order[child];
        hole = child;
    }
    if (length % 2 == 0 && child == (length - 2) / 2) {
        child = 2 * child + 1;
        order[hole] = order[child];
        hole = child;
    }
    i32 parent = (hole - 1) / 2;
    while (hole > top && scores[order[parent] * n] > score) {
        order[hole] = order[parent];
        hole = parent;
        parent = (parent - 1) / 2;
    }
    order[hole] = element;
}

KERNEL emit_best(IN(f32) boxes, IN(f32) scores, IN(i32) chosen, IN(i32) counts, OUT(i32) orders, OUT(f32) out_boxes,
                 OUT(f32) out_classes, OUT(f32) out_scores, OUT(f32) out_count, i32 n, i32 classes, i32 k, i32 slots,
                 i32 most) {
    i32 d = GLOBAL_ID;
    if (d >= most) return;
    i32 found = counts[0];
    if (d == 0) *out_count = (f32)found;
    OUT(i32) order = orders + d * classes;
    i32 anchor = d < found ? chosen[d] : 0;
    scores += anchor;
    for (i32 c = 0; c < classes; c++) order[c] = c;
    if (d < found) {
        for (i32 parent = k < 2 ? -1 : (k - 2) / 2; parent >= 0; parent--)
            sink(scores, n, order, parent, k, order[parent]);
        for (i32 c = k; c < classes; c++)
            if (scores[order[c] * n] > scores[order[0] * n]) {
                i32 element = order[c];
                order[c] = order[0];
                sink(scores, n, order, 0, k, element);
            }
        for (i32 last = k - 1; last > 0; last--) {
            i32 element = order[last];
            order[last] = order[0];
            sink(scores, n, order, 0, last, element);
        }
    }
    for (i32 j = 0; j < slots; j++) {
        i32 out = d * slots + j, there = d < found && j < k;
        for (i32 e = 0; e < 4; e++) out_boxes[4 * out + e] = there ? boxes[4 * anchor + e] : 0;
        out_classes[out] = there ? (f32)order[j] : 0;
        out_scores[out] = there ? scores[order[j] * n] : 0;
    }
}
#else
KERNEL emit_sorted(IN(f32) boxes, IN(f32) scores, IN(i32) chosen, IN(i32) counts, OUT(i32) heads, OUT(f32) out_boxes,
                   OUT(f32) out_classes, OUT(f32) out_scores, OUT(f32) out_count, i32 n, i32 classes, i32 per_class,
                   i32 slots, i32 most) {
    if (GLOBAL_ID > 0) return;
    i32 found = 0;
    for (i32 c = 0; c < classes; c++) heads[c] = 0;
    for (i32 out = 0; out < slots; out++) {
        i32 best = -1;
        f32 score = 0;
        if (out < most)
            for (i32 c = 0; c < classes; c++) {
                if (heads[c] >= counts[c]) continue;
                f32 v = scores[c * n + chosen[c * per_class + heads[c]]];
                if (best < 0 || v > score) {
                    score = v;
                    best = c;
                }
            }
        i32 anchor = best < 0 ? 0 : chosen[best * per_class + heads[best]];
        for (i32 e = 0; e < 4; e++) out_boxes[4 * out + e] = best < 0 ? 0 : boxes[4 * anchor + e];
        out_classes[out] = best < 0 ? 0 : (f32)best;
        out_scores[out] = score;
        if (best >= 0) {
            heads[best]++;
            found++;
        }
    }
    *out_count = (f32)found;
}
#endif
