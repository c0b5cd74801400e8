/* Four lanes in the compiler's own notation: loads and stores as tile_template.h asks for them. Included by a file that
 * has defined LANE, the type of a lane. */
#include <string.h>

#define VL 4
typedef LANE vf __attribute__((vector_size(16)));
typedef LANE vf_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
typedef size_t vtail; /* bytes */

static inline vf load_bytes(const float *p, size_t bytes) {
    vf v = {0};
    memcpy(&v, p, bytes);
    return v;
}

#define V_TAIL(n) ((size_t)(n) * sizeof(float))
#define V_LOAD(p) load_bytes(p, sizeof(vf))
#define V_STORE(p, v) (*(vf_unaligned *)(p) = (v))
#define V_LOAD_TAIL(p, tail) load_bytes(p, tail)
#define V_STORE_TAIL(p, v, tail)                                                                                       \
    do {                                                                                                               \
        const vf v_stored = (v);                                                                                       \
        memcpy(p, &v_stored, tail);                                                                                    \
    } while (0)
#define V_ZERO ((vf){0})
