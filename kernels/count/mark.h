/* Numbers of system calls that no kernel has, by which count.c tells the plugin of QEMU what is to be counted. */
#ifndef LPARBENCH_MARK_H
#define LPARBENCH_MARK_H

enum { LPB_COUNT_BEGIN = 0x4c5042, LPB_COUNT_END };

#endif
