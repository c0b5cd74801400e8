/* A QEMU user-mode plugin that counts POWER instructions by class, exactly and repeatably, for a single thread.
 *
 * It declares the few functions of QEMU's plugin interface, version 1, that it uses, so that neither QEMU's headers
 * nor glib are needed to build it. Output, on the plugin log (-d plugin): one line
 *   WHAT total=N ger=N acc_move=N load=N store=N
 * where ger are the outer products of the Matrix-Multiply Assist, acc_move the moves into and out of accumulators
 * (not their clearing), and load and store those of vector registers. WHAT is "piece" for what runs between the
 * system calls LPB_COUNT_BEGIN and LPB_COUNT_END of mark.h, and "whole" at the end of a process. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mark.h"

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*at_exit)(qemu_plugin_id_t, void *);
typedef void (*at_translation)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*at_system_call)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                               uint64_t, uint64_t, uint64_t);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, at_translation);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, at_system_call);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, at_exit, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum qemu_plugin_op, void *,
                                                       uint64_t);
extern void qemu_plugin_outs(const char *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

typedef struct {
    uint64_t total, ger, acc_move, load, store;
} counts;

static counts now, before;

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
            return (word & 1) == 0 ? &now.ger : NULL;
        }
        return NULL;
    }
    if (primary == 31 && extended == 177) { /* xxmfacc 0, xxmtacc 1, xxsetaccz 3 */
        const uint32_t which = (word >> 16) & 31;
        return which < 2 ? &now.acc_move : NULL;
    }
    if (primary == 6) return (word & 15) == 0 ? &now.load : &now.store;                    /* lxvp, stxvp */
    if (primary == 61 && (word & 3) == 1) return (word & 7) == 1 ? &now.load : &now.store; /* lxv, stxv */
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
            return &now.load; /* lxvx, lxvdsx, lxvwsx, lxvpx, lxvd2x, lxvw4x, lxvb16x, lxvh8x, lxvl, lxvll */
        case 396:
        case 461:
        case 972:
        case 908:
        case 1004:
        case 940:
        case 397:
        case 429:
            return &now.store; /* the same of stxv */
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
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &now.total, 1);
        if (counter) qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, counter, 1);
    }
}

static void report_since(const char *what, const counts *start) {
    char line[200];
    snprintf(line, sizeof line, "%s total=%llu ger=%llu acc_move=%llu load=%llu store=%llu\n", what,
             (unsigned long long)(now.total - start->total), (unsigned long long)(now.ger - start->ger),
             (unsigned long long)(now.acc_move - start->acc_move), (unsigned long long)(now.load - start->load),
             (unsigned long long)(now.store - start->store));
    qemu_plugin_outs(line);
}

static void system_call(qemu_plugin_id_t id, unsigned processor, int64_t number, uint64_t a, uint64_t b, uint64_t c,
                        uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)processor, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == LPB_COUNT_BEGIN) before = now;
    if (number == LPB_COUNT_END) report_since("piece", &before);
}

static void report(qemu_plugin_id_t id, void *unused) {
    const counts none = {0};
    (void)id, (void)unused;
    report_since("whole", &none);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
                                                               char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, system_call);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return 0;
}
