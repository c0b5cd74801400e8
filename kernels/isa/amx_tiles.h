/* Intel's Advanced Matrix Extensions: eight tiles of at most 16 rows of 64 bytes, a product of two added to a third.
 *
 * The instructions stand here by their codes, because assemblers before binutils 2.36 do not know them, and compilers'
 * own names for them say nothing of the memory that they read. LPB_AMX_MODEL is the name of a header that defines them
 * in C, for checks on other processors. */
#ifndef LPARBENCH_AMX_TILES_H
#define LPARBENCH_AMX_TILES_H

#include <stdbool.h>
#include <stdint.h>

enum { AMX_ROWS = 16, AMX_ROW_BYTES = 64, AMX_WORDS = 16 }; /* of a tile at most; a word has 4 bytes */
enum { AMX_A = 4, AMX_B = 6 };                              /* the tiles of A and B; those before hold sums */

/* What LDTILECFG reads. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_shapes;
_Static_assert(sizeof(amx_shapes) == 64, "the layout is the processor's");

#ifdef LPB_AMX_MODEL
#include LPB_AMX_MODEL
#else
/* VEX, map 0F38: `prefix` is 0 for none, 2 for F3, 3 for F2; `third` is the operand that VEX names, 0 for none. */
#define AMX_CODE(prefix, third, opcode, modrm)                                                                         \
    ".byte 0xc4, 0xe2, (~" #third " & 15) << 3 | " #prefix ", " #opcode ", " modrm "\n"
#define AMX_TILE(t) "0xc0 | " #t " << 3"
#define AMX_AT(t) "0x04 | " #t " << 3, 0x08" /* memory at rax, rows rcx bytes apart */
#define AMX_SHAPES(shapes) __asm__ volatile(AMX_CODE(0, 0, 0x49, "0x00")::"a"(shapes) : "memory")
#define AMX_RELEASE() __asm__ volatile(AMX_CODE(0, 0, 0x49, "0xc0")::: "memory")
#define AMX_ZERO(t) __asm__ volatile(AMX_CODE(3, 0, 0x49, AMX_TILE(t))::: "memory")
#define AMX_LOAD(t, from, row_bytes)                                                                                   \
    __asm__ volatile(AMX_CODE(3, 0, 0x4b, AMX_AT(t))::"a"(from), "c"((int64_t)(row_bytes)) : "memory")
#define AMX_STORE(t, to, row_bytes)                                                                                    \
    __asm__ volatile(AMX_CODE(2, 0, 0x4b, AMX_AT(t))::"a"(to), "c"((int64_t)(row_bytes)) : "memory")
/* Tile c += a b: `a` has rows of words of k, `b` a row for each of these words. */
#define AMX_BF16(c, a, b) __asm__ volatile(AMX_CODE(2, b, 0x5c, AMX_TILE(c) " | " #a)::: "memory")
#define AMX_INT8(c, a, b) __asm__ volatile(AMX_CODE(3, b, 0x5e, AMX_TILE(c) " | " #a)::: "memory")
#endif

/* Sums of 16 x 16, A of as many rows of `depth` words, B of `depth` rows of 16 words. */
static inline amx_shapes amx_shapes_of(int64_t depth) {
    amx_shapes s = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        s.rows[t] = (uint8_t)(t < AMX_B ? AMX_ROWS : depth);
        s.row_bytes[t] = (uint16_t)(t < AMX_A || t >= AMX_B ? AMX_ROW_BYTES : 4 * depth);
    }
    return s;
}

/* Whether the processor has tiles of both types, and the system gives them to this process: it is asked once. */
bool lpb_amx_supported(void);

#endif
