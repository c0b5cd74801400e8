/* Walks through trees are chains of dependent loads, so several go on at once: of one tree for many rows, while its
 * nodes are in the first-level cache, or of many trees for a single row. A walk takes as many steps as its tree is
 * deep; at a leaf it stays, so that there is no branch to mispredict. */
#define _POSIX_C_SOURCE 200809L
#include "forest.h"

#include "memory.h"

typedef struct {
    float threshold; /* of a leaf: its value */
    int32_t feature;
    int32_t left, to_right; /* the right child is left + to_right; of a leaf: itself, 0 */
} node;

struct lpb_forest {
    int64_t trees;
    node *nodes;    /* of all trees, each level by level from its root */
    int32_t *roots; /* one per tree */
    int32_t *depths;
};

void lpb_forest_free(lpb_forest *forest) {
    if (!forest) return;
    free(forest->nodes);
    free(forest->roots);
    free(forest->depths);
    free(forest);
}

typedef struct {
    const int32_t *feature, *left, *right;
    const float *threshold, *value;
    int64_t count, features;
} source;

/* Lays the nodes of a tree behind each other, level by level; `old` is room for `count` numbers. The nodes laid; 0 when
 * they are no tree. */
static int64_t lay_tree(const source *from, int64_t base, node *nodes, int32_t *old, int32_t *depth) {
    int64_t laid = 1;
    old[0] = 0;
    *depth = 0;
    for (int64_t at = 0, level_end = 1; at < laid; at++) {
        if (at == level_end) { /* the node begins another level */
            level_end = laid;
            ++*depth;
        }
        const int32_t own = old[at], left = from->left[own], right = from->right[own];
        if (left == own && right == own) {
            nodes[at] = (node){from->value[own], 0, (int32_t)(base + at), 0};
            continue;
        }
        const bool fits = left >= 0 && left < from->count && right >= 0 && right < from->count &&
                          from->feature[own] >= 0 && from->feature[own] < from->features && laid + 2 <= from->count;
        if (!fits) return 0;
        nodes[at] = (node){from->threshold[own], from->feature[own], (int32_t)(base + laid), 1};
        old[laid++] = left;
        old[laid++] = right;
    }
    return laid;
}

static bool arrays_fit(const lpb_array *arrays) {
    static const lpb_array_type types[] = {LPB_ARRAY_INT32, LPB_ARRAY_FLOAT, LPB_ARRAY_INT32, LPB_ARRAY_INT32,
                                           LPB_ARRAY_FLOAT};
    for (int i = 0; i < 5; i++)
        if (arrays[i].type != types[i] || arrays[i].rows != arrays[0].rows || arrays[i].columns != arrays[0].columns)
            return false;
    const int64_t most = INT32_MAX / 2;
    return arrays[0].rows > 0 && arrays[0].columns > 0 && arrays[0].rows <= most / arrays[0].columns;
}

lpb_status lpb_forest_new(const lpb_array *arrays, int64_t features, lpb_forest **made) {
    if (!arrays_fit(arrays)) return LPB_BAD_ARGUMENT;
    const int64_t trees = arrays[0].rows, count = arrays[0].columns;
    lpb_forest *forest = calloc(1, sizeof *forest);
    int32_t *old = lpb_new_memory(count * (int64_t)sizeof *old);
    if (forest) {
        forest->trees = trees;
        forest->nodes = lpb_new_memory(trees * count * (int64_t)sizeof *forest->nodes);
        forest->roots = lpb_new_memory(trees * (int64_t)sizeof *forest->roots);
        forest->depths = lpb_new_memory(trees * (int64_t)sizeof *forest->depths);
    }
    lpb_status status = forest && old && forest->nodes && forest->roots && forest->depths ? LPB_OK : LPB_NO_MEMORY;
    int64_t base = 0;
    for (int64_t t = 0; status == LPB_OK && t < trees; t++) {
        const source from = {
            .feature = (const int32_t *)arrays[0].data + t * count,
            .left = (const int32_t *)arrays[2].data + t * count,
            .right = (const int32_t *)arrays[3].data + t * count,
            .threshold = (const float *)arrays[1].data + t * count,
            .value = (const float *)arrays[4].data + t * count,
            .count = count,
            .features = features,
        };
        forest->roots[t] = (int32_t)base;
        const int64_t laid = lay_tree(&from, base, forest->nodes + base, old, forest->depths + t);
        if (!laid) status = LPB_BAD_ARGUMENT;
        base += laid;
    }
    free(old);
    if (status != LPB_OK)
        lpb_forest_free(forest);
    else
        *made = forest;
    return status;
}

int64_t lpb_forest_visits(const lpb_forest *forest) {
    int64_t visits = 0;
    for (int64_t t = 0; t < forest->trees; t++) visits += forest->depths[t] + 1;
    return visits;
}

/* One step: to the right unless the feature is at most the threshold, so also when it is NaN. */
static inline int32_t next(const node *nodes, int32_t at, const float *x) {
    const node *n = nodes + at;
    return n->left + (n->to_right & -(int32_t)!(x[n->feature] <= n->threshold));
}

/* clang-format off */
#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
/* clang-format on */

/* One tree, eight rows at once. */
static void walk_rows(const node *nodes, int32_t root, int32_t depth, const float *x, int64_t x_row, double *sums) {
#define START(q) int32_t at##q = root;
#define STEP(q) at##q = next(nodes, at##q, x + q * x_row);
#define ADD(q) sums[q] += (double)nodes[at##q].threshold;
    EIGHT(START)
    for (int32_t level = 0; level < depth; level++) {
        EIGHT(STEP)
    }
    EIGHT(ADD)
#undef STEP
#undef START
#undef ADD
}

/* One row, eight trees at once. */
static double walk_trees(const node *nodes, const int32_t *roots, int32_t depth, const float *x) {
    double sum = 0.0;
#define START(q) int32_t at##q = roots[q];
#define STEP(q) at##q = next(nodes, at##q, x);
#define ADD(q) sum += (double)nodes[at##q].threshold;
    EIGHT(START)
    for (int32_t level = 0; level < depth; level++) {
        EIGHT(STEP)
    }
    EIGHT(ADD)
#undef STEP
#undef START
#undef ADD
    return sum;
}

static int32_t walk(const node *nodes, int32_t at, int32_t depth, const float *x) {
    for (int32_t level = 0; level < depth; level++) at = next(nodes, at, x);
    return at;
}

void lpb_forest_sums(const lpb_forest *f, const float *x, int64_t rows, int64_t x_row, double *sums) {
    for (int64_t r = 0; r < rows; r++) sums[r] = 0.0;
    const int64_t whole = rows / 8 * 8;
    for (int64_t t = 0; whole && t < f->trees; t++)
        for (int64_t r = 0; r < whole; r += 8)
            walk_rows(f->nodes, f->roots[t], f->depths[t], x + r * x_row, x_row, sums + r);
    for (int64_t r = whole; r < rows; r++) {
        const float *row = x + r * x_row;
        int64_t t = 0;
        for (; t + 8 <= f->trees; t += 8) {
            int32_t depth = 0;
            for (int q = 0; q < 8; q++) depth = f->depths[t + q] > depth ? f->depths[t + q] : depth;
            sums[r] += walk_trees(f->nodes, f->roots + t, depth, row);
        }
        for (; t < f->trees; t++) sums[r] += (double)f->nodes[walk(f->nodes, f->roots[t], f->depths[t], row)].threshold;
    }
}
