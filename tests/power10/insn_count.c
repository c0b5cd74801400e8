/* A QEMU user-mode plugin that counts POWER instructions by class, exactly and repeatably, for a single thread.
 *
 * It declares the few functions of QEMU's plugin interface, version 1, that it uses, so that neither QEMU's headers
 * nor glib are needed to build it. Output, on the plugin log (-d plugin): one line
 *   total=N ger=N acc_move=N load=N store=N
 * where ger are the outer products of the Matrix-Multiply Assist, acc_move the moves into and out of accumulators
 * (not their clearing), and load and store those of vector registers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*at_exit)(qemu_plugin_id_t, void *);
typedef void (*at_translation)(qemu_plugin_id_t, struct qemu_plugin_tb *);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, at_translation);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, at_exit, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum qemu_plugin_op, void *,
                                                       uint64_t);
extern void qemu_plugin_outs(const char *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t total, ger, acc_move, load, store;

/* Fields of the instruction word as the Power ISA numbers them: bit 0 is the most significant. */
static uint64_t *class_of(uint32_t word) {
    const uint32_t primary = word >> 26, extended = (word >> 1) & 0x3ff;
    if (primary == 59) { /* XX3 form; prefixed ones carry it in their suffix */
        switch ((word >> 3) & 0xff) {
        case 27:
        case 26:
        case 90:
        case 154:
        case 218: /* xvf32ger, pp, np, pn, nn */
        case 59:
        case 58:
        case 122:
        case 186:
        case 250: /* xvf64ger */
        case 51:
        case 50:
        case 114:
        case 178:
        case 242: /* xvbf16ger2 */
        case 19:
        case 18:
        case 82:
        case 146:
        case 210: /* xvf16ger2 */
        case 3:
        case 2:
        case 99:
        case 35:
        case 34:
        case 75:
        case 107:
        case 43:
        case 42: /* xvi8, i4, i16 */
            return (word & 1) == 0 ? &ger : NULL;
        }
        return NULL;
    }
    if (primary == 31 && extended == 177) { /* xxmfacc 0, xxmtacc 1, xxsetaccz 3 */
        const uint32_t which = (word >> 16) & 31;
        return which < 2 ? &acc_move : NULL;
    }
    if (primary == 6) return (word & 15) == 0 ? &load : &store;                    /* lxvp, stxvp */
    if (primary == 61 && (word & 3) == 1) return (word & 7) == 1 ? &load : &store; /* lxv, stxv */
    if (primary == 31) {
        switch (extended) {
        case 268:
        case 332:
        case 364:
        case 333:
        case 844:
        case 780:
        case 876:
        case 812:
        case 269:
        case 301:
            return &load; /* lxvx, lxvdsx, lxvwsx, lxvpx, lxvd2x, lxvw4x, lxvb16x, lxvh8x, lxvl, lxvll */
        case 396:
        case 461:
        case 972:
        case 908:
        case 1004:
        case 940:
        case 397:
        case 429:
            return &store; /* the same of stxv */
        }
    }
    return NULL;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint32_t *words = qemu_plugin_insn_data(insn);
        uint64_t *counter = class_of(words[qemu_plugin_insn_size(insn) / 4 - 1]); /* of a prefixed one, the suffix */
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &total, 1);
        if (counter) qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, counter, 1);
    }
}

static void report(qemu_plugin_id_t id, void *unused) {
    char line[200];
    (void)id, (void)unused;
    snprintf(line, sizeof line, "total=%llu ger=%llu acc_move=%llu load=%llu store=%llu\n", (unsigned long long)total,
             (unsigned long long)ger, (unsigned long long)acc_move, (unsigned long long)load,
             (unsigned long long)store);
    qemu_plugin_outs(line);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
                                                               char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return 0;
}
